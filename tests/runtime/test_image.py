"""The file system that is run lies where the reader of ``verify`` says; what that reader refuses is not run."""

from __future__ import annotations

import os
import struct

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sifmake.errors import SifError, SifmakeError
from sifmake.runtime.errors import RunError
from sifmake.runtime.image import open_image
from sifmake.sif import open_sif
from support.corpus import SIF_BROKEN, needs_corpus
from support.runtime import needs_runtime, run
from support.signing import write_sif


def outcome(path):
    """Return what the full reader says: the error, or the place of the primary partition."""
    try:
        with open_sif(path) as sif:
            item = sif.primary()
            return (item.offset, item.size) if item is not None and item.size else None
    except SifError as error:
        return str(error)


def run_outcome(path):
    """Return what running says in the same form; None where there is nothing that could be mounted."""
    try:
        image = open_image(str(path))
    except RunError:
        return None
    except SifmakeError as error:
        return str(error)
    os.close(image.fd)
    return image.offset, image.size


@needs_corpus
def test_broken_files_are_run_exactly_where_they_are_read():
    paths = sorted(SIF_BROKEN.glob("*.sif"))
    assert len(paths) == 47
    for path in paths:
        assert run_outcome(path) in (outcome(path), None), path.name
        if isinstance(outcome(path), str):
            assert run_outcome(path) == outcome(path), path.name


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    edits=st.lists(
        st.tuples(
            st.one_of(st.integers(32, 128), st.integers(4096, 4096 + 4 * 585), st.integers(4096, 32176)),
            st.binary(min_size=1, max_size=9),
        ),
        max_size=3,
    )
)
def test_no_edit_of_header_or_table_makes_two_opinions(tmp_path_factory, edits):
    path = tmp_path_factory.getbasetemp() / "two.sif"
    data = bytearray(write_sif(path).read_bytes())
    for place, piece in edits:
        data[place : place + len(piece)] = piece
    path.write_bytes(data)
    said = outcome(path)
    assert run_outcome(path) == said or (not isinstance(said, str) and run_outcome(path) is None)


OVERLAPPING = {
    "another object over it": lambda data: put(data, 0, 17, 40000, 500),
    "an object with no number": lambda data: put_id(data, 0, 0),
    "two objects of one number": lambda data: put_id(data, 0, 3),
    "an object behind the end": lambda data: put(data, 0, 17, 1 << 40, 17),
    "data over the table": lambda data: data.__setitem__(slice(112, 120), struct.pack("<q", 200)),
    "a table that is larger than it says": lambda data: data.__setitem__(slice(104, 112), struct.pack("<q", 585)),
}


def put(data, slot, at, *numbers):
    """Write numbers of eight bytes into a descriptor."""
    start = 4096 + slot * 585 + at
    data[start : start + 8 * len(numbers)] = struct.pack(f"<{len(numbers)}q", *numbers)


def put_id(data, slot, number):
    start = 4096 + slot * 585 + 5
    data[start : start + 4] = number.to_bytes(4, "little")


@needs_runtime
@pytest.mark.parametrize("case", OVERLAPPING)
def test_exec_refuses_what_verify_cannot_read(tmp_path, case):
    """Each of these files was run: only the descriptor of the root file system was read."""
    path = write_sif(tmp_path / "a.sif")
    data = bytearray(path.read_bytes())
    OVERLAPPING[case](data)
    path.write_bytes(data)
    reason = outcome(path)
    assert isinstance(reason, str)
    done = run("exec", "--runtime", "builtin", str(path), "true", cwd=tmp_path)
    assert done.stderr.decode() == f"sifmake: error: {reason}\n"
    assert done.returncode == 255


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SifError, match="not a regular file"):
        open_image(str(tmp_path / "pipe"))
