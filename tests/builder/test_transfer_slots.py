"""TransferSlots of layers: bounded, without a pause in between, and ended when a pull is given up."""

from __future__ import annotations

import io
import threading

import pytest

from sifmake.builder.cancellation import CancelledError
from sifmake.builder.transfer_slots import LAST_BYTES, TransferSlots

SOON = 60.0


def begin(action):
    thread = threading.Thread(target=action, daemon=True)
    thread.start()
    return thread


def test_the_next_one_begins_when_the_last_bytes_of_the_one_before_are_reached():
    slots = TransferSlots(1)
    begun = threading.Event()

    def follow():
        with slots.acquire():
            begun.set()

    with slots.acquire() as slot:
        reader = slot.watch(io.BytesIO(bytes(LAST_BYTES + 100)), LAST_BYTES + 100)
        thread = begin(follow)
        reader.read(99)
        assert not begun.wait(0.05)
        reader.read(1)
        assert begun.wait(SOON)
        assert len(reader.read(-1)) == LAST_BYTES, "nothing is lost by watching"
    thread.join(SOON)


def test_a_turn_counts_once_however_it_ends():
    slots = TransferSlots(2)
    running, most = [], []
    lock, gate = threading.Lock(), threading.Event()

    def work():
        with slots.acquire() as slot:
            with lock:
                running.append(1)
                most.append(len(running))
            gate.wait(SOON)
            with lock:
                running.pop()
            slot.watch(io.BytesIO(b"x"), 1).read(1)
            slot.end()

    threads = [begin(work) for _ in range(8)]
    gate.set()
    for thread in threads:
        thread.join(SOON)
    assert (len(most), max(most)) == (8, 2)


def test_a_block_that_fails_gives_its_turn_back():
    slots = TransferSlots(1)
    with pytest.raises(ZeroDivisionError), slots.acquire():
        _ = 1 / 0
    with slots.acquire():
        pass


def test_who_waits_gives_up_when_the_pull_does():
    slots = TransferSlots(1)
    caught = []

    def wait():
        try:
            with slots.acquire():
                caught.append(None)
        except CancelledError as error:
            caught.append(error)

    with slots.acquire():
        thread = begin(wait)
        slots.close()
        thread.join(SOON)
    assert [type(error) for error in caught] == [CancelledError]
