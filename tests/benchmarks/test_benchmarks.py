"""The measuring tools measure what they say: images that others read, a floor that does its work, honest memory."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import tarfile
import threading
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
sys.path.insert(0, str(REPOSITORY))

from benchmarks import floor, image, measure, one_layer, one_process, readback  # noqa: E402
from benchmarks.layerfile import LayerFile  # noqa: E402
from benchmarks.link import throttled  # noqa: E402
from benchmarks.report import Figure, Report  # noqa: E402
from benchmarks.scale import MIB, Scale  # noqa: E402
from support.layers import file, tar  # noqa: E402
from support.runtime import open_folder  # noqa: E402

TINY = Scale("tiny", 2_000_000, 120, 8 * MIB, 1, 1)


@pytest.fixture(scope="module")
def layered(tmp_path_factory):
    try:
        return image.layered(tmp_path_factory.mktemp("bench"), TINY)
    except SystemExit as error:
        pytest.skip(str(error))


def plain(layer, found):
    return gzip.decompress(found.blob(layer).read_bytes())


def test_layers_are_what_their_names_say(layered):
    for layer in layered.layers:
        assert hashlib.sha256(layered.blob(layer).read_bytes()).hexdigest() == layer
    index = json.loads((Path(layered.layout) / "index.json").read_text())
    manifest = layered.blob(index["manifests"][0]["digest"][7:])
    config = layered.blob(json.loads(manifest.read_text())["config"]["digest"][7:])
    diff_ids = json.loads(config.read_text())["rootfs"]["diff_ids"]
    assert diff_ids == [f"sha256:{hashlib.sha256(plain(layer, layered)).hexdigest()}" for layer in layered.layers]


def test_extents_are_the_files_of_the_tar(layered):
    entries = total = 0
    for layer in layered.layers:
        path = layered.blob(layer)
        with tarfile.open(path) as tar:
            members = tar.getmembers()
        files = [(one.offset_data, one.size) for one in members if one.isreg() and one.size]
        listed = memoryview(layered.extents(layer).read_bytes()).cast("Q").tolist()
        assert list(zip(listed[::2], listed[1::2], strict=True)) == files
        entries += len(members)
        total += sum(size for _, size in files)
    assert (entries, total) == (layered.entries, layered.plain)


@pytest.mark.umoci
@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("umoci"), reason="needs umoci and root")
def test_umoci_unpacks_it_to_as_many_entries(layered, tmp_path):
    bundle = tmp_path / "bundle"
    subprocess.run(["umoci", "unpack", "--image", f"{layered.layout}:{image.CHANGED}", bundle], check=True)
    assert 1 + sum(1 for _ in (bundle / "rootfs").rglob("*")) == layered.tree


def test_it_is_kept(layered):
    assert image.layered(Path(layered.layout).parent, TINY) == layered


@pytest.mark.parametrize("threads", [1, 3])
def test_the_floor_reads_all_and_compresses_what_a_pack_holds(layered, threads):
    pairs = [(layered.blob(layer), layered.extents(layer)) for layer in layered.layers]
    result = floor.run(pairs, threads)
    assert [packed for packed, _ in result["digests"]] == layered.layers
    assert [found for _, found in result["digests"]] == [
        hashlib.sha256(plain(layer, layered)).hexdigest() for layer in layered.layers
    ]
    assert result["stored"] == sum(
        compressed(plain(layer, layered), layered.extents(layer)) for layer in layered.layers
    )


def compressed(stream, extents):
    """Return the compressed size of a layer's files, worked out the slow way."""
    import deflate

    listed = memoryview(extents.read_bytes()).cast("Q").tolist()
    blocks, tails, seen = [], b"", set()
    for start, size in zip(listed[::2], listed[1::2], strict=True):
        data = stream[start : start + size]
        if size < floor.BLOCK and data in seen:
            continue
        seen.add(data)
        full = size // floor.BLOCK * floor.BLOCK
        blocks += [data[at : at + floor.BLOCK] for at in range(0, full, floor.BLOCK)]
        if len(tails) + size - full > floor.BLOCK:
            blocks.append(tails)
            tails = b""
        tails += data[full:]
    blocks.append(tails)
    return sum(min(len(deflate.zlib_compress(block, 6)), len(block)) for block in blocks if block.strip(b"\0"))


def test_the_floor_reads_gzip_of_many_members(tmp_path):
    big = image.few_large_files(tmp_path, TINY)
    result = floor.run([(big.blob(layer), big.extents(layer)) for layer in big.layers], 2)
    assert result["digests"] == [(big.layers[0], hashlib.sha256(plain(big.layers[0], big)).hexdigest())]
    assert big.plain == TINY.big
    with tarfile.open(fileobj=gzip.open(big.blob(big.layers[0]))) as tar:
        assert [one.size for one in tar] == [TINY.big // 2] * 2


def test_the_threads_of_one_layer_are_measured(tmp_path, monkeypatch):
    monkeypatch.setattr("sifmake.layers.overlap.APART_FROM", 0)
    raw = tar(file("large", random.Random(1).randbytes(5 * MIB)))
    (tmp_path / "layer").write_bytes(gzip.compress(raw, 1))
    one_layer.cut_into_members(tmp_path / "layer", tmp_path / "members")
    assert gzip.decompress((tmp_path / "members").read_bytes()) == raw
    for name in ("layer", "members"):
        found = one_layer.measure(tmp_path / name)
        assert found["diff_id"] == f"sha256:{hashlib.sha256(raw).hexdigest()}"
        assert found["size"] == (tmp_path / name).stat().st_size
        assert found["busiest"] == max(found["threads"].values())
        assert set(found["threads"]) <= {"inflate", "stream", "hash", "unpack"}
        assert found["alone"] > 0


def test_the_layer_writer_marks_upgraded_files(tmp_path):
    (tmp_path / "blobs" / "sha256").mkdir(parents=True)
    source = tmp_path / "file"
    source.write_bytes(b"content")
    layer = LayerFile(tmp_path / "blobs" / "sha256")
    layer.add_host(str(source), b"+")
    layer.add("empty", b"")
    found = layer.finish()
    stream = gzip.decompress((tmp_path / "blobs" / "sha256" / found["digest"][7:]).read_bytes())
    assert stream[layer.extents[0] :][: layer.extents[1]] == b"content+"
    assert len(layer.extents) == 2


def test_memory_of_children_counts_and_file_pages_do_not():
    size = 64 << 20
    hold = "import time; x = b'1' * (64 << 20); time.sleep(0.3)"
    child = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {hold!r}], check=True)"
    mapped = (
        "import mmap, time, sys; f = open(sys.argv[1], 'rb'); m = mmap.mmap(f.fileno(), 0, prot=1); "
        "s = m[::4096]; time.sleep(0.3)"
    )
    assert measure.run([sys.executable, "-c", child]).anonymous > size
    with open_folder() as folder:  # on a disk, because the pages of files in memory are shared memory
        (folder / "file").write_bytes(bytes(size))
        assert measure.run([sys.executable, "-c", mapped, folder / "file"]).anonymous < size // 2


def test_a_program_that_fails_ends_the_check():
    with pytest.raises(SystemExit, match="reason"):
        measure.run([sys.executable, "-c", "raise SystemExit('reason')"])


@pytest.mark.parametrize(
    ("value", "limit", "at_least", "verdict"),
    [
        (1.0, 1.0, False, "PASS"),
        (1.01, 1.0, False, "FAIL"),
        (2.8, 2.8, True, "PASS"),
        (2.7, 2.8, True, "FAIL"),
        (9.9, None, False, ""),
    ],
)
def test_verdicts(value, limit, at_least, verdict, capsys):
    report = Report()
    report.add(Figure("name", value, limit, "x", at_least=at_least))
    assert report.figures[0].verdict == verdict
    assert report.failed is (verdict == "FAIL")
    assert f"| {verdict} |" in report.table()


def test_the_json_says_on_which_machine(tmp_path, capsys):
    report = Report()
    report.add(Figure("name", 1.0, 2.0))
    report.skip("other", "no root")
    report.fail("third", "reason")
    report.write(tmp_path / "new" / "out.json", {"a": 1})
    found = json.loads((tmp_path / "new" / "out.json").read_text())
    assert found["figures"][0]["verdict"] == "PASS"
    assert found["skipped"] == {"other": "no root"}
    assert found["machine"]["cores"] == len(os.sched_getaffinity(0))
    assert report.failed


def test_the_partition_of_a_sif_is_found(tmp_path):
    # SIF header and one descriptor, packed here field by field from the format's description.
    header = b"#!/usr/bin/env run-singularity\n\0" + b"SIF_MAGIC\0" + b"01\0" + b"02\0" + bytes(16)
    header += b"".join(number.to_bytes(8, "little") for number in (0, 0, 46, 48, 4096, 28080, 32768, 4096))
    descriptor = (0x4004).to_bytes(4, "little") + b"\1" + bytes(12) + (36864).to_bytes(8, "little") + bytes(560)
    unused = bytes(585)
    path = tmp_path / "x.sif"
    path.write_bytes(header + bytes(4096 - len(header)) + unused + descriptor + bytes(585 * 46))
    assert readback.partition_offset(path) == 36864


def test_the_command_explains_itself():
    command = [sys.executable, "-m", "benchmarks", "--help"]
    shown = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout
    assert "--quick" in shown


@pytest.mark.skipif(not Path("/var/lib/dpkg/info/libc6:amd64.list").exists(), reason="made of Debian's amd64 packages")
def test_the_image_of_programs_has_the_packages_files(tmp_path):
    found = image.programs(tmp_path)
    with tarfile.open(found.blob(found.layers[0])) as tar:
        names = {f"/{name}" for name in tar.getnames()}
    listed = subprocess.run(["dpkg", "-L", "dash", "libc6"], check=True, capture_output=True, text=True).stdout.split()
    files = [path for path in listed if os.path.isfile(path) and not path.startswith("/usr/share/doc")]
    assert len(files) > 100
    assert {os.path.join(os.path.realpath(os.path.dirname(path)), os.path.basename(path)) for path in files} <= names


def test_every_way_of_a_child_builds_and_signs(layered):
    seconds = one_process.measure(f"oci:{layered.layout}:first", 1)
    assert set(seconds) == {"one process", "fork", "fresh interpreter"}
    assert min(seconds.values()) > 0


def test_a_throttled_link_has_its_rate_and_its_delay():
    data = os.urandom(100_000)

    def serve():
        connection, _ = listener.accept()
        with connection:
            connection.recv(1)
            connection.sendall(data)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=serve, daemon=True).start()
        with throttled(f"127.0.0.1:{listener.getsockname()[1]}", 1e6, 0.1) as address:
            began = time.monotonic()
            with socket.create_connection(("127.0.0.1", int(address.rpartition(":")[2])), 10) as client:
                client.sendall(b"x")
                assert b"".join(iter(lambda: client.recv(1 << 16), b"")) == data
            assert time.monotonic() - began > 0.19
