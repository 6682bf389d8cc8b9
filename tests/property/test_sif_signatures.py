"""Whatever single byte of a signed file changes: it does not verify, or the listing has named the byte as uncovered."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sifmake.errors import SifError
from sifmake.sif import open_sif, problems
from sifmake.sif.listing import header_lines, list_lines
from sifmake.signing import Verdict, verify_file
from support.signing import pem_pair, pgp_pair, signed, write_sif


@pytest.fixture(scope="module", params=["pem", "pgp"])
def case(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param)
    pair = {"pem": pem_pair, "pgp": pgp_pair}[request.param](folder)
    path = signed(write_sif(folder / "a.sif", groups={1: 1, 2: 1}), pair)
    result = verify_file(path, pair.trust)
    assert result.verdict is Verdict.VERIFIED
    return path.read_bytes(), folder / "b.sif", pair.trust, result.uncovered


def positions(size):
    """Give positions, most of them where something stands: header, used descriptors, data and signatures."""
    busy = st.one_of(st.integers(0, 127), st.integers(4096, 4096 + 8 * 585), st.integers(32176, size - 1))
    return st.one_of(busy, busy, st.integers(0, size - 1))


@settings(max_examples=250, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_one_changed_byte_fails_or_is_named(case, data):
    original, path, trust, uncovered = case
    place = data.draw(positions(len(original)), label="place")
    flip = data.draw(st.integers(1, 255), label="flip")
    check(original, path, trust, uncovered, place, flip)


def test_every_byte_of_the_signatures_and_their_descriptors(case):
    original, path, trust, uncovered = case
    with open_sif(write(path, original)) as sif:
        places = [place for item in sif.objects if not item.group_id for place in range(item.offset, item.end, 5)]
        places += [place for item in sif.objects if not item.group_id for place in descriptor(item)]
    for place in places:
        check(original, path, trust, uncovered, place, 1 + place % 255)


def descriptor(item):
    return range(4096 + item.slot * 585, 4096 + item.slot * 585 + 73)


def write(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def check(original, path, trust, uncovered, place, flip):
    """Change one byte and hold the outcome to the listing of the file as it was."""
    changed = bytearray(original)
    changed[place] ^= flip
    try:
        result = verify_file(write(path, bytes(changed)), trust)
    except SifError:
        return
    if result.verdict is Verdict.VERIFIED:
        assert any(span.start <= place < span.end for span in uncovered), place


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(edits=st.lists(st.tuples(st.integers(32, 4096 + 5 * 585), st.binary(min_size=1, max_size=12)), max_size=4))
def test_whatever_stands_in_header_and_table_ends_in_a_listing_or_one_line(tmp_path_factory, edits):
    folder = tmp_path_factory.getbasetemp()
    path = folder / "hostile.sif"
    data = bytearray(write_sif(path).read_bytes())
    for place, piece in edits:
        data[place : place + len(piece)] = piece
    path.write_bytes(data)
    try:
        with open_sif(path) as sif:
            lines = [*list_lines(sif.objects), *header_lines(sif.header), *problems(sif)]
            assert all(0 <= item.offset <= item.end <= sif.size for item in sif.objects)
            assert all(sum(map(len, sif.chunks(item))) == item.size for item in sif.objects)
    except SifError as error:
        lines = [str(error)]
    assert lines
