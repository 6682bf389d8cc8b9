"""Archives for ``cache import`` that somebody made to hurt: one line, little memory and time, nothing left behind."""

from __future__ import annotations

import hashlib
import io
import json
import os
import resource
import subprocess
import sys
import tarfile
import time

import pytest

from sifmake.layers.codec import make_codec
from sifmake.layers.pack_format import pack_key
from sifmake.oci.model import Platform
from sifmake.store import Store
from support.corpus import CORPUS
from support.layers import diff_id_of, file, make_pack, tar
from support.measured import WITHIN_LIMITS
from support.packs import tamper

MEMORY = 256 << 20
SECONDS = 5
RAW = tar(file("a", b"a" * 3000))
KEY = pack_key(diff_id_of(RAW), make_codec("gzip"))
PLACE = f"packs/{KEY[:2]}/{KEY}"


def run_import(path, store, **limits):
    """Import in a process of its own; return status, the last line, peak memory and processor seconds."""
    code = (
        "import resource,sys; from sifmake.cli.main import main; status = main(['cache', 'import', sys.argv[1]]);"
        "print('PEAK', open('/proc/self/status').read().split('VmHWM:')[1].split()[0]); sys.exit(status)"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)

    def bound():
        for name, value in limits.items():
            resource.setrlimit(getattr(resource, name), (value, value))

    result = subprocess.run(
        [sys.executable, "-c", code, str(path)],
        env={**os.environ, **WITHIN_LIMITS, "SIFMAKE_CACHE": str(store), "LC_ALL": "C.UTF-8"},
        cwd=path.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        preexec_fn=bound,
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    peak = int(result.stdout.split("PEAK")[-1]) << 10
    return result, peak, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def refused(path, store, said, **limits):
    result, peak, seconds = run_import(path, store, **limits)
    assert result.returncode == 1, result.stderr
    lines = result.stderr.splitlines()
    assert len(lines) == 1, result.stderr
    assert said in lines[0]
    assert "defect" not in lines[0]
    assert peak < MEMORY
    assert seconds < SECONDS
    assert files_in(store) == []


def files_in(store):
    return [item for item in store.rglob("*") if item.is_file() and item.name != ".swept"]


def member(name, data=b"", kind=tarfile.REGTYPE, **fields):
    info = tarfile.TarInfo(name)
    info.size, info.type = len(data), kind
    for key, value in fields.items():
        setattr(info, key, value)
    return info, data


def archive(path, *members, form=tarfile.PAX_FORMAT):
    with tarfile.open(path, "w", format=form) as out:
        for info, data in members:
            out.addfile(info, io.BytesIO(data))
    return path


def raw_header(name, kind, size):
    """Return a header block with a size that no file stands behind."""
    block = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    block[156:157] = kind
    block[124:136] = b"%011o\0" % size
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data):
    return data + bytes(-len(data) % 512)


@pytest.fixture
def pack(tmp_path):
    make_pack(tmp_path / "p", RAW).close()
    return tmp_path / "p"


END = bytes(1024)


def old_sparse():
    block = bytearray(raw_header(PLACE[:90], b"S", 512))
    block[257:265] = b"ustar  \0"
    block[386:410] = b"%011o\0%011o\0" % (0, 512)
    block[483:495] = b"%011o\0" % (2 << 30)
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block) + bytes(512) + END


def pax_sparse(version):
    records = {"GNU.sparse.major": version[0], "GNU.sparse.minor": version[1], "GNU.sparse.name": PLACE}
    records |= {"GNU.sparse.realsize": str(2 << 30), "GNU.sparse.size": str(2 << 30)}
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as out:
        info, data = member(PLACE, b"0\n", pax_headers=records)
        out.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def many_headers(kind, size, count=40):
    """Return headers that each are allowed, and together are not."""
    body = b"%d comment=%s\n" % (size, b"x" * (size - len(b"%d comment=\n" % size)))
    return b"".join(raw_header("h", kind, size) + padded(body) for _ in range(count)) + END


HOSTILE = {
    "sparse in GNU's old form": (old_sparse(), "does not belong"),
    "sparse 0.0": (pax_sparse("00"), "does not belong"),
    "sparse 0.1": (pax_sparse("01"), "does not belong"),
    "sparse 1.0": (pax_sparse("10"), "does not belong"),
    "a PAX header of 2 GiB": (raw_header("h", b"x", 2 << 30) + END, "are allowed"),
    "a global header of 2 GiB": (raw_header("h", b"g", 2 << 30) + END, "are allowed"),
    "a long name of 2 GiB": (raw_header("h", b"L", 2 << 30) + END, "are allowed"),
    "a long link of 2 GiB": (raw_header("h", b"K", 2 << 30) + END, "are allowed"),
    "many PAX headers": (many_headers(b"x", 1 << 20), "are allowed"),
    "many global headers": (many_headers(b"g", 1 << 20), "are allowed"),
    "many long names": (many_headers(b"L", 1 << 20), "are allowed"),
    "a size of a million digits": (
        raw_header("h", b"x", 1 << 20) + (b"1048576 size=" + b"9" * ((1 << 20) - 14) + b"\n") + END,
        "not an archive of a store",
    ),
    "a pack of 7 GiB": (raw_header("packs/ab/abcd", b"0", 7 << 30) + END, "truncated"),
    "a blob of 1 GiB": (raw_header(f"blobs/sha256/{KEY[:2]}/{KEY[:64]}", b"0", 1 << 30) + END, "too large for blob"),
}


@pytest.mark.parametrize("which", HOSTILE)
def test_headers_that_ask_for_much(tmp_path, which):
    data, said = HOSTILE[which]
    (tmp_path / "x.tar").write_bytes(data)
    refused(tmp_path / "x.tar", tmp_path / "store", said)


def test_a_header_of_tiny_records_takes_no_time(tmp_path):
    records = (b"6 a=b\n" * ((1 << 20) // 6)).ljust(1 << 20, b"\0")
    (tmp_path / "x.tar").write_bytes((raw_header("h", b"x", 1 << 20) + records) * 9 + END)
    _, peak, seconds = run_import(tmp_path / "x.tar", tmp_path / "store")
    assert peak < MEMORY
    assert seconds < SECONDS


def test_more_members_than_are_allowed(tmp_path):
    blocks = b"".join(raw_header(f"h{n % 10}", b"g", 0) for n in range(19_000)) * 6
    (tmp_path / "x.tar").write_bytes(blocks[: (10 << 20) // 512 * 512] + END)
    path = tmp_path / "x.tar"
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("limits: {archive-members: 10000}\n")
    refused(path, tmp_path / "store", "more than 10000 members")


@pytest.mark.parametrize("name", ["bp-ent", "bp-meta", "bp-range", "bp-trav"])
@pytest.mark.corpus
@pytest.mark.skipif(not CORPUS.is_dir(), reason="no corpus here")
def test_packs_of_the_corpus(tmp_path, name):
    path = tmp_path / "x.tar"
    path.write_bytes((CORPUS / "security" / f"{name}.tar").read_bytes())
    refused(path, tmp_path / "store", "layer pack")


def test_a_pack_that_was_tampered_with(tmp_path, pack):
    tamper(pack, lambda parts: parts["entries"][0].__setitem__(0, b"../a"))
    path = archive(tmp_path / "x.tar", member(PLACE, pack.read_bytes()))
    refused(path, tmp_path / "store", "a path that no layer can have")


def test_a_pack_of_a_million_tiny_entries(tmp_path, pack):
    """Memory follows the index, not what it may become."""

    def change(parts):
        parts["entries"] = [[b"%x" % n, 1, 0, 0, 0, 0] for n in range(700_000)]
        parts["entries"].append([b"../a", 1, 0, 0, 0, 0])

    tamper(pack, change)
    path = archive(tmp_path / "x.tar", member(PLACE, pack.read_bytes()))
    assert path.stat().st_size < 10 << 20
    refused(path, tmp_path / "store", "a path that no layer can have")


def test_a_pack_that_is_a_bomb(tmp_path, pack):
    """64 GiB of holes in a few bytes."""

    def change(parts):
        blocks = bytes(4 * (64 << 30 >> 17) // 32)
        parts["contents"] += [[bytes([n] * 32), 2 << 30, 0, 0, blocks, -1, 0, 2 << 30] for n in range(32)]

    tamper(pack, change)
    path = archive(tmp_path / "x.tar", member(PLACE, pack.read_bytes()))
    refused(path, tmp_path / "store", "far more than a layer pack of this size may hold")


@pytest.mark.parametrize(
    ("members", "said"),
    [
        ([member(PLACE.upper(), b"x")], "does not belong"),
        ([member(f"packs/{KEY[:2].upper()}/{KEY.upper()}", b"x")], "layer pack"),
        ([member("/" + PLACE, b"x")], "does not belong"),
        ([member("./" + PLACE, b"x")], "does not belong"),
        ([member("packs//" + PLACE[6:], b"x")], "does not belong"),
        ([member("a/../" + PLACE, b"x")], "does not belong"),
        ([member("packs/../../../x", b"x")], "does not belong"),
        ([member(PLACE, kind=tarfile.SYMTYPE, linkname="/etc/passwd")], "does not belong"),
        ([member(PLACE, kind=tarfile.LNKTYPE, linkname="/etc/passwd")], "does not belong"),
        ([member(PLACE, kind=tarfile.CHRTYPE)], "does not belong"),
        ([member(PLACE + "\x1b[31m", b"x")], "does not belong"),
    ],
)
def test_names_and_kinds_that_do_not_belong_there(tmp_path, members, said):
    refused(archive(tmp_path / "x.tar", *members), tmp_path / "store", said)


def test_a_name_that_stands_twice(tmp_path, pack):
    path = archive(tmp_path / "x.tar", member(PLACE, pack.read_bytes()), member(PLACE, b"other"))
    result, _, _ = run_import(path, tmp_path / "store")
    assert result.returncode == 1
    assert "occurs twice in the archive" in result.stderr


def test_a_fifo_does_not_hang(tmp_path):
    os.mkfifo(tmp_path / "x.tar")
    began = time.monotonic()
    refused(tmp_path / "x.tar", tmp_path / "store", "not an archive of a store")
    assert time.monotonic() - began < 20


def test_no_room_in_the_middle_leaves_nothing(tmp_path):
    data = os.urandom(3 << 20)
    name = hashlib.sha256(data).hexdigest()
    path = archive(tmp_path / "x.tar", member(f"blobs/sha256/{name[:2]}/{name}", data))
    refused(path, tmp_path / "store", name, RLIMIT_FSIZE=1 << 20)


def put(store, document):
    data = json.dumps(document).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    store.blobs.put(digest, data)
    return digest, data


def index_of(*digests):
    described = [
        {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": 2,
            "platform": {"os": "linux", "architecture": "amd64"},
        }
        for digest in digests
    ]
    media_type = "application/vnd.oci.image.index.v1+json"
    return {"schemaVersion": 2, "mediaType": media_type, "manifests": described}


GOOD, EVIL = f"sha256:{'1' * 64}", f"sha256:{'2' * 64}"


def note_archive(path, store, manifest, *, with_index):
    """Write an archive with a note on an index, and the index behind it or not at all."""
    index, data = put(store, index_of(GOOD))
    digits = index.partition(":")[2]
    members = [member(f"indexes/{digits[:2]}/{digits}-linux%2Famd64", f"{manifest}\n".encode())]
    if with_index:
        members.append(member(f"blobs/sha256/{digits[:2]}/{digits}", data))
    return archive(path, *members), index


def test_a_note_comes_with_its_index(tmp_path):
    path, index = note_archive(tmp_path / "x.tar", Store(tmp_path / "from"), GOOD, with_index=True)
    result, _, _ = run_import(path, tmp_path / "store")
    assert result.returncode == 0, result.stderr
    assert "2 file(s) added" in result.stderr
    assert Store(tmp_path / "store").blobs.find_manifest(index, Platform("linux", "amd64")) == GOOD


def test_a_note_that_its_index_disproves_is_refused(tmp_path):
    path, index = note_archive(tmp_path / "x.tar", Store(tmp_path / "from"), EVIL, with_index=True)
    result, _, _ = run_import(path, tmp_path / "store")
    assert result.returncode == 1
    assert "does not match its name" in result.stderr
    assert Store(tmp_path / "store").blobs.find_manifest(index, Platform("linux", "amd64")) is None


def test_a_note_without_its_index_is_left_out(tmp_path):
    path, index = note_archive(tmp_path / "x.tar", Store(tmp_path / "from"), GOOD, with_index=False)
    result, _, _ = run_import(path, tmp_path / "store")
    assert result.returncode == 0
    assert "1 note(s) on indexes left out" in result.stderr
    assert Store(tmp_path / "store").blobs.find_manifest(index, Platform("linux", "amd64")) is None
