"""The tar files of Go, CPython, squashfs-tools-ng and tokio-tar: what Go's archive/tar sees is what we see."""

import pytest

from support.corpus import CORPUS, needs_corpus
from support.tars import by_go, needs_go, ours

TARS = CORPUS / "tar"
MOST_HASHED = 1 << 28

STRICTER = {
    "astral-sh+tokio-tar/tests/archives/diff-024-pending-pax-boundary.tar": "whose entry is missing",
    "golang-go/archive/tar/testdata/pax-path-hdr.tar": "whose entry is missing",
    "golang-go/archive/tar/testdata/gnu-incremental.tar": "a tar entry of type 'D'",
    "python-cpython/Lib/test/testtar.tar": "owner 4294967295:4294967295",
}
"""Streams that Go reads to their end and we refuse, and what we say."""

TOO_BIG_TO_HASH = {"gnu-sparse-big.tar", "pax-sparse-big.tar", "sparse-large.tar"}
"""60 GB of holes and more: another test looks at their headers."""


def names():
    return sorted(str(path.relative_to(TARS)) for path in TARS.glob("**/*.tar") if path.name not in TOO_BIG_TO_HASH)


@needs_corpus
@needs_go
def test_every_file_reads_as_in_go():
    raws = {name: (TARS / name).read_bytes() for name in names()}
    assert len(raws) > 70
    differences = {}
    for (name, raw), (members, error) in zip(raws.items(), by_go(*raws.values()), strict=True):
        seen, message = ours(raw)
        if name in STRICTER:
            assert not error
            assert STRICTER[name] in message
            assert seen == members[: len(seen)]
        elif seen != members or bool(message) != bool(error):
            differences[name] = (message, error, set(seen) ^ set(members))
    assert not differences


@needs_corpus
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("golang-go/archive/tar/testdata/gnu-sparse-big.tar", 60000000000),
        ("golang-go/archive/tar/testdata/pax-sparse-big.tar", 60000000000),
    ],
)
def test_huge_sparse_files_cost_nothing_to_pass_over(name, size):
    from sifmake.layers.tar import TarReader
    from sifmake.limits import DEFAULT_LIMITS

    members = list(TarReader(iter([(TARS / name).read_bytes()]), DEFAULT_LIMITS))
    assert [member.size for member in members] == [size]
