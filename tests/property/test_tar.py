"""The tar reader against Python's writer and Go's reader, on streams that hypothesis makes up and damages."""

import hashlib
import tarfile
import tempfile
from contextlib import suppress
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sifmake.errors import LayerError
from sifmake.layers.pack_proof import prove_pack
from sifmake.layers.rebuild import tar_of
from sifmake.limits import DEFAULT_LIMITS
from support.layers import make_pack
from support.tars import END, by_go, by_tarfile, chunked, needs_go, ours, read

TYPES = [tarfile.REGTYPE, tarfile.LNKTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.DIRTYPE]
SAFE_LETTERS = st.characters(codec="utf-8", exclude_characters="\0/", exclude_categories=("Cs",))
COMPONENTS = st.text(SAFE_LETTERS, min_size=1, max_size=60).map(lambda text: text.strip(".") or "x")
NAMES = st.lists(COMPONENTS, min_size=1, max_size=8).map("/".join)


@st.composite
def infos(draw, largest):
    kind = draw(st.sampled_from([*TYPES, tarfile.FIFOTYPE]))
    info = tarfile.TarInfo(draw(NAMES))
    info.type = kind
    info.mode = draw(st.integers(0, 0o7777))
    info.uid, info.gid = draw(st.integers(0, largest["id"])), draw(st.integers(0, largest["id"]))
    info.mtime = draw(st.integers(largest["early"], largest["late"]))
    if kind in (tarfile.LNKTYPE, tarfile.SYMTYPE):
        info.linkname = draw(NAMES)
    if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
        info.devmajor, info.devminor = draw(st.integers(0, 0o7777777)), draw(st.integers(0, 0o7777777))
    data = draw(st.binary(max_size=1500)) if kind == tarfile.REGTYPE else b""
    info.size = len(data)
    return info, data


WIDE = {"id": 2**32 - 2, "early": -(2**40), "late": 2**40}
FORMS = {tarfile.GNU_FORMAT: WIDE, tarfile.PAX_FORMAT: WIDE}


@st.composite
def streams(draw):
    form = draw(st.sampled_from(list(FORMS)))
    entries = draw(st.lists(infos(FORMS[form]), max_size=5))
    return entries, by_tarfile(*entries, form=form)


@settings(max_examples=80, deadline=None)
@given(streams(), st.sampled_from([100, 512, 5000, 1 << 20]))
def test_what_tarfile_writes_is_read(made, size):
    entries, raw = made
    seen = read(chunked(raw, size))
    assert len(seen) == len(entries)
    for member, (info, data) in zip(seen, entries, strict=True):
        slash = "/" if info.isdir() else ""
        assert member.name == (info.name + slash).encode()
        assert (member.type, member.mode, member.uid, member.gid) == (info.type, info.mode, info.uid, info.gid)
        assert (member.mtime, member.size) == (info.mtime, len(data))
        assert member.linkname == info.linkname.encode()
        assert (member.devmajor, member.devminor) == (info.devmajor, info.devminor)
        assert member.sha256 == hashlib.sha256(data).hexdigest()


@st.composite
def damaged(draw):
    """Streams with some bytes changed, removed or doubled; headers are hit more often than data."""
    _, raw = draw(streams())
    blob = bytearray(raw[: len(raw) - len(raw) % 512])
    blocks = [at for at in range(0, len(blob), 512) if any(blob[at : at + 512])] or [0]
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.sampled_from(blocks)) + draw(st.integers(0, 511))
        blob[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2))
        if draw(st.booleans()):
            _correct_checksum(blob, at - at % 512)
    return bytes(blob)


def _correct_checksum(blob, at):
    head = blob[at : at + 512]
    if len(head) == 512:
        blob[at + 148 : at + 156] = b"%06o\0 " % (sum(head[:148]) + sum(head[156:]) + 8 * 32)


@settings(max_examples=100, deadline=None)
@given(damaged())
def test_damage_ends_in_members_or_a_layer_error(raw):
    with suppress(LayerError):
        assert all(len(seen.sha256) == 64 for seen in read(chunked(raw)))


OURS_ALONE = (
    "whose entry is missing",
    "which image layers do not use",
    "is not within 0 to",
    "does not fit into 32 bits",
    "global extended header between",
    "are allowed",
    "more than",
    "a NUL in GNU.sparse.name",
)
"""What we refuse and Go reads."""


@needs_go
@settings(max_examples=100, deadline=None)
@given(damaged())
def test_damage_reads_as_in_go(raw):
    seen, message = ours(raw)
    ((members, error),) = by_go(raw)
    if any(words in message for words in OURS_ALONE):
        assert seen == members[: len(seen)]
    else:
        assert seen == members
        assert bool(message) == bool(error)


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=3000))
def test_bytes_that_are_no_tar(raw):
    seen, message = ours(raw)
    assert not seen
    assert bool(message) == bool(raw and not (raw.startswith(END) or raw == bytes(512)))


def _packs_itself(raw):
    """Pack a stream if it can be packed; then the pack must prove itself and give the stream back."""
    with tempfile.TemporaryDirectory() as folder:
        try:
            pack = make_pack(Path(folder) / "p", raw)
        except LayerError:
            return
        with pack:
            prove_pack(pack, DEFAULT_LIMITS)
            assert b"".join(tar_of(pack, DEFAULT_LIMITS)) == raw


@settings(max_examples=50, deadline=None)
@given(streams(), st.binary(max_size=700))
def test_packs_give_back_what_tarfile_writes(made, junk):
    _packs_itself(made[1] + junk)


@settings(max_examples=100, deadline=None)
@given(damaged())
def test_packs_give_back_damaged_streams_that_can_be_read(raw):
    _packs_itself(raw)
