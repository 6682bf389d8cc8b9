"""Reading real files and hostile ones."""

import os
import resource
import struct
import sys

import pytest

from sifmake.errors import SifError
from sifmake.sif import DataType, NotSifError, open_sif, problems
from sifmake.sif.format import Descriptor, Header
from sifmake.sif.listing import header_lines, list_lines
from support.bounded import assert_cheap, assert_refused, run_bounded
from support.corpus import CORPUS, SIF_BROKEN, SIF_FROM_PEERS, SIF_IMAGES, needs_corpus
from support.measured import run_measured
from support.signing import write_sif

REAL = sorted(CORPUS.glob("sif/**/*.sif")) + sorted(SIF_FROM_PEERS.glob("*.sif"))
ERRORS = {
    "dsse-truncated-in-data": "object 2 ends at 40960, after the end of the file",
    "dsse-truncated-in-signature": "object 3 ends at 42654, after the end of the file",
    "pgp-truncated-in-data": "object 2 ends at 40960, after the end of the file",
    "pgp-truncated-in-signature": "object 3 ends at 42008, after the end of the file",
    "struct-bad-magic": "not a SIF file",
    "struct-bad-version": "SIF version 99 is not supported",
    "struct-version-00": "SIF version 00 is not supported",
    "struct-dtotal-huge": "claims 1099511627776 descriptors",
    "struct-dtotal-negative": "claims -1 descriptors",
    "struct-doff-beyond-eof": "the descriptor table ends after the end of the file",
    "struct-doff-negative": "the descriptor table cannot begin at -585",
    "struct-object-offset-beyond-eof": "object 1 ends at 1099511627780, after the end of the file",
    "struct-object-offset-negative": "object 1 has a negative offset",
    "struct-object-size-huge": "object 1 ends at 1125899906875392, after",
    "struct-object-size-negative": "object 1 has a negative offset or size",
    "struct-objects-overlap": "objects 1 and 2 overlap",
    "struct-object-over-header": "object 1 at 0 overlaps the header",
    "struct-duplicate-ids": "two objects have the number 1",
    "struct-id-zero": "the object number 0",
    "struct-two-primaries": "both claim to be the primary partition",
    "struct-empty-file": "not a SIF file",
    "struct-only-launch": "not a SIF file",
    "struct-half-header": "the header is truncated",
    "struct-half-descriptor": "the descriptor table ends after the end of the file",
}
ODDITIES = {
    "struct-dfree-wrong": "counts 7 free descriptors of 48",
    "struct-link-to-missing": "object 1 is linked to object 99, which does not exist",
    "pgp-header-arch-changed": "names another architecture than the primary partition, which is 386",
    "dsse-header-arch-changed": "names another architecture than the primary partition, which is 386",
    "dsse-signature-descriptor-unused": "descriptor slot 2 is not in use but not empty",
    "pgp-signature-descriptor-unused": "descriptor slot 2 is not in use but not empty",
}


def observed():
    """Give what the Go tools said: file, status of their list, last line of their list."""
    if not SIF_BROKEN.is_dir():
        return
    for line in (SIF_BROKEN / "OBSERVED.tsv").read_text().splitlines():
        name, status, *_, _verdict, last, _message = line.split("\t")[:7]
        yield pytest.param(name, status, last, id=name)


@needs_corpus
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_files_read_without_a_complaint(path):
    with open_sif(path) as sif:
        assert problems(sif) == []
        for item in sif.objects:
            assert sum(map(len, sif.chunks(item))) == item.size


@needs_corpus
@pytest.mark.parametrize(
    ("name", "status", "last"), list(observed()) or [pytest.param("", "", "", marks=pytest.mark.skip("no corpus"))]
)
def test_broken_files_give_one_clear_line_or_the_list_that_the_peers_give(name, status, last):
    path, stem = SIF_BROKEN / name, name.removesuffix(".sif")
    if stem in ERRORS:
        with pytest.raises(SifError, match=ERRORS[stem]) as caught, open_sif(path):
            pass
        assert str(caught.value).startswith(str(path))
        assert "\n" not in str(caught.value)
        return
    assert status == "0"
    with open_sif(path) as sif:
        assert list_lines(sif.objects)[-1] == last
        expected = ODDITIES.get(stem)
        assert expected is None or expected in "; ".join(problems(sif))


@needs_corpus
def test_all_47_broken_files_are_read():
    assert len(list(observed())) == len(list(SIF_BROKEN.glob("*.sif"))) == 47


@needs_corpus
def test_list_shows_types_groups_and_links_as_the_peers_do():
    with open_sif(SIF_IMAGES / "two-groups-signed-pgp.sif") as sif:
        assert list_lines(sif.objects)[1:] == [
            "ID   |GROUP   |LINK    |SIF POSITION (start-end)  |TYPE",
            "-" * 78,
            "1    |1       |NONE    |32768-32772               |FS (Raw/System/386)",
            "2    |1       |NONE    |36864-40960               |FS (Squashfs/*System/386)",
            "3    |2       |NONE    |40960-303104              |FS (Ext3/System/amd64)",
            "4    |NONE    |1   (G) |303104-304152             |Signature (SHA-256)",
            "5    |NONE    |2   (G) |304152-305001             |Signature (SHA-256)",
        ]


@needs_corpus
def test_header_of_a_deterministic_file_shows_neither_identity_nor_times():
    with open_sif(SIF_IMAGES / "one-group.sif") as sif:
        shown = "\n".join(header_lines(sif.header))
    assert "Primary Architecture: 386" in shown
    assert "1970" not in shown
    assert "ID:" not in shown


@needs_corpus
def test_header_of_apptainers_file_shows_identity_and_utc_times():
    with open_sif(CORPUS / "sif/apptainer+apptainer/e2e/testdata/busybox_amd64.sif") as sif:
        shown = header_lines(sif.header)
    assert "ID:                   4f307b4c-58a8-4753-9c0f-21dceefed4a6" in shown
    assert "Created At:           2021-08-02T19:09:36Z" in shown


@needs_corpus
def test_finding_and_reading_objects():
    with open_sif(SIF_FROM_PEERS / "alpine-odd.apptainer.sif") as sif:
        (definition,) = sif.find(DataType.DEFINITION)
        assert sif.read(definition).startswith(b"bootstrap: ")
        assert [item.label for item in sif.find(DataType.GENERIC_JSON)] == ["inspect-metadata.json", "oci-config.json"]
        assert sif.read(*sif.find(name="oci-config.json"))[:1] == b"{"
        primary = sif.primary()
        assert sif.pread(primary, 4) == b"hsqs"
        assert sif.pread(primary, 100, primary.size - 10) == sif.read(primary)[-10:]
        with pytest.raises(SifError, match="at most 16 expected"):
            sif.read(definition, 16)
        with pytest.raises(SifError, match="no object 9; it has 1, 2, 3, 4"):
            sif.get(9)


def test_a_file_that_shrinks_while_open_is_noticed(tmp_path):
    path = write_sif(tmp_path / "a.sif")
    with open_sif(path) as sif:
        os.truncate(path, 33000)
        with pytest.raises(SifError, match="the file was truncated"):
            sif.read(sif.primary())


@pytest.mark.parametrize("kind", ["folder", "fifo"])
def test_what_is_not_a_regular_file_is_refused_at_once(tmp_path, kind):
    path = tmp_path / "x"
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(NotSifError, match="not a regular file"), open_sif(path):
        pass


def test_a_full_table_of_hostile_size_is_read_fast_and_in_little_memory(tmp_path):
    path = tmp_path / "many.sif"
    base = bytearray(write_sif(tmp_path / "a.sif").read_bytes())
    total = 16384
    base[88:112] = struct.pack("<qqq", total, 65536, total * 585)
    base[112:120] = struct.pack("<q", 65536 + total * 585)
    slot = struct.pack("<i?IIIqqqqqqq", 0x4007, True, 0, 0xF0000001, 0, 65536 + total * 585, 0, 0, 0, 0, 0, 0)
    with path.open("wb") as file:
        file.write(base[:128])
        file.seek(65536)
        for number in range(1, total + 1):
            file.write((slot[:5] + number.to_bytes(4, "little") + slot[9:]).ljust(585, b"\0"))
    script = (
        "import re, sys; from pathlib import Path; from sifmake.sif import open_sif, problems\n"
        "with open_sif(Path(sys.argv[1])) as sif: n, p = len(sif.objects), problems(sif)\n"
        "print(n, len(p), re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])"
    )
    ran = run_measured([sys.executable, "-c", script, path], tmp_path)
    count, _, kib = map(int, ran.out.split())
    assert count == total
    assert kib < 80 * 1024
    assert ran.seconds < 5


def test_a_huge_claim_allocates_nothing(tmp_path):
    path = write_sif(tmp_path / "a.sif")
    data = bytearray(path.read_bytes())
    data[88:96] = struct.pack("<q", 1 << 40)
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(SifError, match="at most 16384 are accepted"), open_sif(path):
        pass
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 8 * 1024


def full_table():
    """Return a file with as many objects as are accepted, each of an odd group, with a name that colours terminals."""
    count, start = 16384, 4096 + 16384 * 585
    head = Header(b"", b"SIF_MAGIC\0", b"01\0", b"02\0", bytes(16), 0, 0, 0, count, 4096, count * 585, start, count)
    objects = [
        Descriptor(
            *(slot, DataType.GENERIC, 1, slot + 1, 1, 0, start + slot, 1, 1, 0, 0, 0, 0),
            *(b"\x1b[31m".ljust(128, b"\0"), bytes(384)),
        )
        for slot in range(count)
    ]
    return head.pack().ljust(4096, b"\0") + b"".join(item.pack() for item in objects) + b"x" * count


def test_a_full_table_is_listed_and_told_of_in_few_lines(tmp_path):
    path = tmp_path / "a.sif"
    path.write_bytes(full_table())
    cost = run_bounded(tmp_path, "sif", "list", path)
    assert_cheap(cost)
    assert cost.status == 0
    assert cost.out.count("\n") > 16384
    assert "\x1b" not in cost.out
    assert cost.err.count("\n") == 21
    assert "16364 further problems" in cost.err
    cost = run_bounded(tmp_path, "sif", "dump", "20000", path)
    assert_refused(cost)
    assert len(cost.err) < 1000
