"""``sifmake pull`` of every golden image against what Apptainer and SingularityCE made of it.

The files are read by the corpus' own SIF reader and by the kernel. ``allowed.json`` lists what may differ.
"""

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

import pytest

from sifmake.cli.main import main
from support.corpus import needs_corpus
from support.golden import (
    GOLDEN,
    Allowed,
    compare,
    document_facts,
    golden_tree,
    names,
    record,
    sif_record,
    tree_facts,
    write_one_image_layout,
)
from support.squashfs_tools import kernel_mount, needs_kernel, read_rows

ALLOWED = Path(__file__).with_name("allowed.json")
STAND_INS = {"multi-flat": "multi", "etc-abslink": "arm64-lie", "etc-dangling": "arm64-lie"}
"""Images that neither tool can pull, and one with the same content, apart from what ``allowed.json`` says."""
OPTIONS = {"arm64-only": ["--arch", "arm64"], "arm64-lie": ["--arch", "arm64"]}
TEXTS = ("-t", "-H", "--list-apps")
"""Options of inspect whose output has no label and no script of the tools in it."""
NOT_COMPARED = {"offset", "size", "size_with_padding", "padding_to_file_end", "id"}
"""Fields of descriptors that follow from other facts."""


@cache
def reader():
    """Return the corpus' SIF reader."""
    spec = importlib.util.spec_from_file_location("golden_sifread", GOLDEN / "tools" / "sifread.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def file_facts(header, descriptors, superblock):
    """Return facts of header, descriptors and superblock."""
    facts = {("header", key): value for key, value in header.items() if key not in ("data_size", "file_size")}
    for item in descriptors:
        facts |= {
            (f"object {item['id']}", key): value
            for key, value in item.items()
            if key not in NOT_COMPARED and not key.startswith("_")
        }
    skipped = {"bytes_used", "partition_size", "partition_padding"}
    return facts | {("squashfs", key): value for key, value in superblock.items() if key not in skipped}


def golden_facts(name):
    found = sif_record(name)
    facts = golden_tree(found, record(name)["tree_columns"])
    facts |= document_facts(found["deffile"], found["json"]["inspect-metadata.json"], found["oci_config_raw"])
    facts |= file_facts(found["header"], found["descriptors"], found["squashfs"])
    facts["file", "mode"] = found["mode_of_sif_file"]
    for option in TEXTS:
        facts["output", option] = record(name)["inspect"]["A"].get(f"inspect {option}", {}).get("stdout")
    return facts


def our_facts(sif, folder, capsysbinary):
    header, descriptors = reader().sif(sif)
    part = next(item for item in descriptors if item["type"] == "partition")
    part["offset_mod_4096"], part["size_mod_4096"] = part["offset"] % 4096, part["size"] % 4096
    facts = file_facts(header, descriptors, reader().superblock(sif, part["offset"], part["size"]))
    facts["file", "mode"] = f"{sif.stat().st_mode & 0o7777:04o}"
    documents = {item["name"] or item["type"]: item["_data"] for item in descriptors}
    inspect = json.loads(documents["inspect-metadata.json"])
    facts |= document_facts(documents["deffile"].decode(), inspect, documents["oci-config.json"].decode())
    with sif.open("rb") as file:
        file.seek(part["offset"])
        (folder / "squashfs").write_bytes(file.read(part["size"]))
    with kernel_mount(folder / "squashfs", folder / "mounted") as top:
        facts |= our_tree(read_rows(top))
        labels = json.loads((top / ".singularity.d" / "labels.json").read_bytes())
    assert labels == inspect["data"]["attributes"]["labels"]
    for option in TEXTS:
        assert main(["inspect", option, str(sif)]) == 0
        facts["output", option] = capsysbinary.readouterr().out.decode()
    return facts


def our_tree(rows):
    """Return facts of the rows that were read from a mounted image."""
    table, groups = [], {}
    for path, row in rows.items():
        name = "/" + os.fsdecode(path)
        groups.setdefault(row.group, []).append(name)
        special = row.type in "bc"
        table.append(
            {
                "path": name,
                "type": row.type,
                "mode": f"{row.mode:04o}",
                "uid": row.uid,
                "gid": row.gid,
                "size": row.size,
                "mtime": row.mtime,
                "nlink": row.links,
                "target": os.fsdecode(row.target) if row.type == "l" else None,
                "rdev": f"{os.major(row.device)}:{os.minor(row.device)}" if special else None,
                "xattrs": {os.fsdecode(key): value.hex() for key, value in row.xattrs},
                "sha256": row.sha256 or None,
            }
        )
    return tree_facts(table, [group for group in groups.values() if len(group) > 1])


@pytest.fixture(scope="module")
def pulled():
    """Differences by image, for the last test to look at again."""
    return {}


@pytest.fixture(scope="module")
def cache_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def pull(tmp_path, cache_folder, monkeypatch, capsysbinary, pulled):
    """Pull an image the way the peers were recorded and return all differences."""

    def run(name):
        if name not in pulled:
            monkeypatch.setenv("SIFMAKE_CACHE", str(cache_folder))
            monkeypatch.chdir(tmp_path)
            old = os.umask(0o022)
            write_one_image_layout(name, tmp_path / "oci" / name)
            status = main(["pull", "--debug", "--quiet", *OPTIONS.get(name, []), f"{name}.sif", f"oci:oci/{name}"])
            os.umask(old)
            out = capsysbinary.readouterr()
            assert status == 0, out.err.decode()
            folder = tmp_path / f"{name}.read"
            folder.mkdir()
            got = our_facts(tmp_path / f"{name}.sif", folder, capsysbinary)
            pulled[name] = compare(name, golden_facts(STAND_INS.get(name, name)), got)
        return pulled[name]

    return run


@needs_kernel
@needs_corpus
@pytest.mark.parametrize("name", names())
def test_an_image_is_what_the_peers_make_of_it(name, pull):
    unexpected = list(Allowed(ALLOWED).remaining(pull(name)))
    assert not unexpected, "\n" + "\n".join(map(str, unexpected))


@needs_kernel
@needs_corpus
def test_every_allowed_difference_is_there(pull):
    allowed = Allowed(ALLOWED)
    for name in names():
        list(allowed.remaining(pull(name)))
    unused = [item["reason"] for number, item in enumerate(allowed.items) if number not in allowed.used]
    assert not unused


def test_allowed_differences_are_few_and_reasoned():
    items = Allowed(ALLOWED).items
    assert len(items) <= 30
    for item in items:
        assert item.keys() <= {"what", "path", "image", "fault", "reason"}
        assert len(item["reason"]) > 20
        assert 1 <= item.get("fault", 1) <= 9


@needs_corpus
def test_fault_1_a_layer_with_one_wrong_bit_gives_no_file(tmp_path, monkeypatch, capsysbinary):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    layout = write_one_image_layout("ep-cmd", tmp_path / "layout")
    layer = max((layout / "blobs" / "sha256").iterdir(), key=lambda path: path.stat().st_size)
    data = bytearray(layer.read_bytes())
    data[len(data) // 2] ^= 1
    layer.write_bytes(data)
    assert main(["pull", str(tmp_path / "x.sif"), f"oci:{layout}"]) == 1
    assert f"layer sha256:{layer.name[:12]}" in capsysbinary.readouterr().err.decode()
    assert not list(tmp_path.glob("*.sif*"))


PULL_TWICE = """
import os, sys
from sifmake.cli.main import main
def pull(who):
    os.environ["SIFMAKE_CACHE"] = f"{who}/cache"
    return main(["pull", "--quiet", f"{who}/x.sif", f"oci:{sys.argv[1]}"])
status = pull("root")
os.setgroups([]), os.setgid(65534), os.setuid(65534)
sys.exit(status or pull("user"))
"""
"""The first pull loads what the second one, perhaps, may not read any more."""


@needs_corpus
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("name", ["modes", "owners", "devices", "xattrs"])
def test_fault_2_an_ordinary_user_gets_the_same_bytes(name):
    with tempfile.TemporaryDirectory() as made:  # pytest's own folders are closed to others
        folder = Path(made)
        folder.chmod(0o755)
        write_one_image_layout(name, folder / name)
        for who, uid in (("root", 0), ("user", 65534)):
            (folder / who).mkdir()
            os.chown(folder / who, uid, uid)
        done = subprocess.run([sys.executable, "-c", PULL_TWICE, name], cwd=folder, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode()
        assert (folder / "user" / "x.sif").stat().st_uid == 65534
        assert (folder / "user" / "x.sif").read_bytes() == (folder / "root" / "x.sif").read_bytes()
