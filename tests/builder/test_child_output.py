"""Programs whose output is passed on: all of it, in pieces, and none runs longer than it may."""

import sys
import time

import pytest

from sifmake.builder.child_output import run_telling


def test_everything_is_passed_on_in_pieces():
    pieces = []
    code = "import sys; sys.stdout.write('x' * 300_000); sys.stdout.flush(); sys.stderr.write('end'); sys.exit(3)"
    assert run_telling([sys.executable, "-c", code], pieces.append, environment={}) == 3
    assert b"".join(pieces) == b"x" * 300_000 + b"end"
    assert max(map(len, pieces)) <= 1 << 16


@pytest.mark.parametrize("code", ["import time; time.sleep(600)", "while True: print('y' * 1000)"])
def test_what_takes_too_long_is_killed(code):
    begin = time.monotonic()
    with pytest.raises(TimeoutError):
        run_telling([sys.executable, "-c", code], lambda _: None, environment={}, seconds=0.3)
    assert time.monotonic() - begin < 60
