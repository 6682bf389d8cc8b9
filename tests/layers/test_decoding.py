"""Memory that runs out while an index is decoded: the machine's fault, or that of an index that announces too much."""

import msgspec
import pytest

from sifmake.errors import PackDamagedError
from sifmake.layers import decoding
from sifmake.layers.decoding import decode

GOOD = msgspec.msgpack.encode([[b"a" * 300, -5, 1 << 40, {"x": 2.5, "y": None}, "text", [True] * 70_000], (), b""])


@pytest.fixture
def no_memory(monkeypatch):
    def fail(*_, **__):
        raise MemoryError

    monkeypatch.setattr(decoding.msgspec.msgpack, "decode", fail)


def test_good_bytes_are_not_damaged_because_memory_is_short(no_memory):
    with pytest.raises(MemoryError):
        decode(GOOD, list, "the index")


@pytest.mark.parametrize(
    "raw",
    [b"\xdd\xff\xff\xff\xff\x01", b"\x92\xc4\x01a\xdd\x7f\xff\xff\xff", b"\x91\xc6\xff\xff\xff\xff", b"\xdf\xff\0\0\0"],
)
def test_more_elements_than_bytes_is_damage(no_memory, raw):
    with pytest.raises(PackDamagedError, match="the index is damaged"):
        decode(raw, list, "the index")
