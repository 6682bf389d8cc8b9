"""``sifmake cache``: what it prints, what it removes, and the way to a machine without a network."""

from __future__ import annotations

import hashlib
import json
import os
import re
import tarfile
import time

import pytest

from sifmake.cli.main import main
from sifmake.layers.codec import make_codec
from sifmake.layers.pack_format import pack_key
from sifmake.oci.model import Platform
from sifmake.store import Store
from support.layers import file, make_pack, tar
from support.packs import drop_residue
from support.stores import add_sif, find_named, pack_path

INDEX = "sha256:" + "5" * 64


@pytest.fixture
def store(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.setenv("SIFMAKE_TMPDIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return Store.open()


def put_json(store, document):
    data = json.dumps(document).encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    store.blobs.put(digest, data)
    return digest


def put_image(store, *texts):
    """Put an image of one layer per text into the store; return the manifest's digest."""
    diff_ids = []
    for text in texts:
        stream = tar(file("etc/motd", text))
        diff_ids.append(f"sha256:{hashlib.sha256(stream).hexdigest()}")
        make_pack(pack_path(store, pack_key(diff_ids[-1], make_codec("gzip"))), stream).close()
    config = put_json(store, {"rootfs": {"type": "layers", "diff_ids": diff_ids}, "n": [str(t) for t in texts]})
    return put_json(store, {"schemaVersion": 2, "config": {"digest": config}})


def packs(store):
    return sorted((store.root / "packs").rglob("*-*"))


def age(store, days):
    for path in store.root.rglob("*"):
        if path.is_file():
            os.utime(path, (time.time() - days * 86400,) * 2)


def test_the_summary_reads_like_apptainers(store, tmp_path, capsys):
    put_image(store, b"one", b"two")
    add_sif(store, "ab" * 32, lambda path: path.write_bytes(bytes(3 << 20)))
    assert main(["cache", "list"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"There are 1 container file\(s\) using 3\.0+ MiB, 2 layer pack\(s\) using \S+ \S+ "
        r"and 2 oci blob file\(s\) using \d+ B of space",
        first,
    )
    assert second.startswith("Total space used: 3.0")


def test_an_empty_store_is_not_an_error(store, capsys):
    assert main(["cache", "list", "-v"]) == 0
    assert main(["cache", "verify"]) == 0
    assert main(["cache", "clean", "-f"]) == 0
    assert not store.root.exists()


def test_every_file_is_listed(store, tmp_path, capsys):
    put_image(store, b"one")
    main(["cache", "list", "--verbose"])
    rows = capsys.readouterr().out.splitlines()
    assert rows[0].split() == ["NAME", "LAST", "USED", "SIZE", "TYPE"]
    assert [row.split()[-1] for row in rows[1:4]] == ["blob", "blob", "pack"]
    main(["cache", "list", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["store"] == str(store.root)
    assert found["total"] == sum(one["size"] for one in found["files"])
    assert {one["type"] for one in found["files"]} == {"blob", "pack"}


@pytest.mark.parametrize("where", ["data", "index", "footer", "cut", "name", "blob"])
def test_verify_finds_and_removes_what_is_damaged_of_layers(store, tmp_path, capsys, where):
    put_image(store, b"one" * 1000, b"two")
    assert main(["cache", "verify"]) == 0
    (blob, *_), (pack, other) = sorted((store.root / "blobs").rglob("?" * 64)), packs(store)
    data = bytearray(pack.read_bytes())
    if where == "blob":
        blob.write_bytes(b"{}")
    elif where == "name":
        pack.write_bytes(other.read_bytes())
    else:
        if where == "cut":
            del data[-1]
        else:
            data[{"data": 0, "index": -100, "footer": -5}[where]] ^= 1
        pack.write_bytes(data)
    capsys.readouterr()
    assert main(["cache", "verify"]) == 1
    shown = capsys.readouterr().err
    assert "1 damaged" in shown
    assert not (blob if where == "blob" else pack).exists()
    assert main(["cache", "verify"]) == 0


@pytest.mark.parametrize(
    ("kind", "content", "said"),
    [
        ("sif", b"SIF", "container abab"),
        ("sif", b"", "its SHA-256 is wrong"),
        ("names", b"", "it names no file"),
        ("indexes", b"sha256:1", "it holds no digest"),
    ],
)
def test_verify_checks_every_kind_of_file(store, capsys, kind, content, said):
    put_named_sif(store, "docker://x", "ab" * 32, b"sif")
    store.blobs.remember_manifest(INDEX, Platform(), "sha256:" + "7" * 64)
    assert main(["cache", "verify"]) == 0
    assert "3 file(s) checked, 0 damaged" in capsys.readouterr().err
    (path,) = (path for path in (store.root / kind).rglob("*") if path.is_file())
    path.write_bytes(content)
    assert main(["cache", "verify"]) == 1
    shown = capsys.readouterr().err
    assert said in shown
    assert "3 file(s) checked, 1 damaged" in shown
    assert not path.exists()
    assert main(["cache", "verify"]) == 0


def put_named_sif(store, name, key, data):
    add_sif(store, key, lambda path: path.write_bytes(data))
    store.sifs.keep_name(name, key)


def test_verify_removes_a_sif_that_nothing_vouches_for(store, capsys):
    put_named_sif(store, "docker://x", "ab" * 32, b"sif")
    (path,) = store.root.rglob("*.sif")
    path.rename(path.with_name(f"{'ab' * 32}.sif"))
    assert main(["cache", "verify"]) == 1
    assert list(store.root.rglob("*.sif")) == []


def test_names_are_listed_collected_and_cleaned(store, capsys):
    for letter in "abc":
        put_named_sif(store, f"docker://{letter}", letter * 64, bytes(1000))
    put_named_sif(store, "docker://a", "d" * 64, bytes(1000))
    main(["cache", "list", "--json"])
    kinds = [one["type"] for one in json.loads(capsys.readouterr().out)["files"]]
    assert kinds == ["container"] * 4 + ["name"] * 3
    age(store, 2)
    assert main(["cache", "gc", "--max-size", "3500"]) == 0
    assert "removed container aaaa" in capsys.readouterr().err
    assert find_named(store, "docker://a").stat().st_size == 1000
    age(store, 2)
    assert main(["cache", "gc", "--max-age", "1d"]) == 0
    assert "removed 6 file(s)" in capsys.readouterr().err
    put_named_sif(store, "docker://a", "d" * 64, bytes(1000))
    assert main(["cache", "clean", "--force"]) == 0
    assert [path for path in store.root.rglob("*") if path.is_file() and path.name != ".swept"] == []


def test_a_name_for_a_sif_of_the_sites_store_is_kept(store, tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "own"))
    put_named_sif(store, "docker://a", "a" * 64, b"sif")
    own = Store.open()
    own.sifs.keep_name("docker://a", "a" * 64)
    age(own, 2)
    monkeypatch.setenv("SIFMAKE_READONLY_CACHE", str(store.root))
    assert main(["cache", "gc", "--max-size", "0"]) == 0
    assert len(list((own.root / "names").rglob("?" * 64))) == 1
    monkeypatch.delenv("SIFMAKE_READONLY_CACHE")
    assert main(["cache", "gc", "--max-size", "0"]) == 0
    assert list((own.root / "names").rglob("?" * 64)) == []


def test_finished_sifs_are_not_exported(store, tmp_path):
    put_image(store, b"one")
    put_named_sif(store, "docker://x", "ab" * 32, b"sif")
    assert main(["cache", "export", "all.tar"]) == 0
    with tarfile.open("all.tar") as archive:
        assert {name.partition("/")[0] for name in archive.getnames()} == {"blobs", "packs"}


def test_collection(store, tmp_path, capsys):
    put_image(store, b"one", b"two")
    assert main(["cache", "gc", "--max-size", "0"]) == 0
    assert len(packs(store)) == 2, "used within a day"
    assert "within a day are kept" in capsys.readouterr().err
    age(store, 2)
    assert main(["cache", "gc", "--max-size", "0", "--dry-run"]) == 0
    assert "would remove pack" in capsys.readouterr().err
    assert len(packs(store)) == 2
    assert main(["cache", "gc", "--max-age", "3d"]) == 0
    assert len(packs(store)) == 2
    assert main(["cache", "gc", "--max-size", "0"]) == 0
    assert [path for path in store.root.rglob("*") if path.is_file() and path.name != ".swept"] == []


@pytest.mark.parametrize("arguments", [["gc"], ["gc", "--max-size", "much"], ["gc", "--max-age", "x"]])
def test_wrong_use_of_collection(store, arguments, capsys):
    assert main(["cache", *arguments]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_clean_asks_first(store, tmp_path, capsys, monkeypatch):
    put_image(store, b"one")
    assert main(["cache", "clean"]) == 2
    assert "--force" in capsys.readouterr().err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    for answer, status, left in (("n", 1, 1), ("", 1, 1), ("y", 0, 0)):
        monkeypatch.setattr("builtins.input", lambda _, answer=answer: answer)
        assert main(["cache", "clean"]) == status
        assert len(packs(store)) == left


def test_no_answer_is_not_a_yes(store, capsys, monkeypatch):
    put_image(store, b"one")

    def end_of_input(_):
        raise EOFError

    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", end_of_input)
    assert main(["cache", "clean"]) == 1
    assert capsys.readouterr().err == "sifmake: error: no answer was entered\n"
    assert packs(store)


def test_an_image_goes_to_another_machine(store, tmp_path, capsys, monkeypatch):
    wanted, other = put_image(store, b"one", b"two"), put_image(store, b"two", b"three")
    described = {"mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": wanted, "size": 2}
    index = put_json(store, {"schemaVersion": 2, "manifests": [described]})
    store.blobs.remember_manifest(index, Platform(), wanted)
    assert main(["cache", "export", "image.tar", f"docker.io/library/x@{wanted}"]) == 0
    assert main(["cache", "export", "index.tar", index]) == 0
    assert (tmp_path / "image.tar").read_bytes() == (tmp_path / "index.tar").read_bytes()
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "there"))
    assert main(["cache", "import", "image.tar"]) == 0
    there = Store.open()
    assert len(packs(there)) == 2
    assert there.blobs.get(wanted) == store.blobs.get(wanted)
    assert there.blobs.get(other) is None
    assert there.blobs.find_manifest(index, Platform()) == wanted
    assert main(["cache", "verify"]) == 0


def test_everything_is_exported_without_a_name(store, tmp_path):
    put_image(store, b"one", b"two")
    put_image(store, b"three")
    assert main(["cache", "export", "all.tar"]) == 0
    assert main(["cache", "clean", "-f"]) == 0
    assert packs(store) == []
    assert main(["cache", "import", "all.tar"]) == 0
    assert len(packs(store)) == 3


def test_a_pack_that_cannot_prove_itself_is_named(store, tmp_path, capsys):
    put_image(store, b"one", b"two")
    first, second = packs(store)
    drop_residue(first)
    assert main(["cache", "verify"]) == 0
    assert f"pack {first.name}: it has no residue" in capsys.readouterr().err
    assert main(["cache", "export", "all.tar"]) == 0
    assert main(["cache", "clean", "-f"]) == 0
    capsys.readouterr()
    assert main(["cache", "import", "all.tar"]) == 0
    said = capsys.readouterr().err
    assert f"pack {first.name} cannot be compared with its layer" in said
    assert second.name not in said


def test_what_is_not_there_cannot_be_exported(store, tmp_path, capsys):
    digest = put_image(store, b"one")
    packs(store)[0].unlink()
    for word, said, status in (
        (digest, "lacks this layer", 1),
        (INDEX, "does not have", 1),
        ("nonsense", "not a digest", 2),
    ):
        assert main(["cache", "export", "x.tar", word]) == status
        assert said in capsys.readouterr().err
    assert not (tmp_path / "x.tar").exists()


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (b'{"rootfs": {"diff_ids": []}}', "is of the image config .* use the manifest's digest"),
        (b'{"schemaVersion": 2, "manifests": []}', "the store has no image of this index; pull"),
        (b'{"config": 1, "layers": []}', "not the manifest of an image"),
        (b'{"layers": [], "mediaType": "application/vnd.example"}', "not the manifest of an image"),
        (b"[" * 1000, "not the manifest of an image"),
        (b"\xff", "not the manifest of an image"),
    ],
)
def test_the_digest_of_another_document_is_told_from_a_manifests(store, tmp_path, capsys, document, words):
    put_image(store, b"one")
    digest = f"sha256:{hashlib.sha256(document).hexdigest()}"
    store.blobs.put(digest, document)
    for word in (digest, f"alpine@{digest}"):
        assert main(["cache", "export", "x.tar", word]) == 1
        line = capsys.readouterr().err
        assert re.search(words, line), line
        assert line.count("\n") == 1
    assert not (tmp_path / "x.tar").exists()


@pytest.mark.parametrize("digest", ["sha256:x", "sha512:../../x", "sha256:", f"sha256:{'A' * 64}"])
def test_what_is_not_a_digest_is_not_in_the_store(store, capsys, digest):
    assert main(["cache", "export", "x.tar", f"alpine@{digest}"]) == 1
    assert "the store does not have this image" in capsys.readouterr().err


def test_a_damaged_archive_gives_one_line(store, tmp_path, capsys):
    (tmp_path / "x.tar").write_bytes(b"x" * 2000)
    assert main(["cache", "import", "x.tar"]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_the_projects_own_store_is_meant_in_a_project(store, tmp_path, capsys):
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "config.yaml").write_text("store:\n  path: ours\n")
    main(["cache", "list", "--json"])
    assert json.loads(capsys.readouterr().out)["store"] == str(tmp_path / "ours")
