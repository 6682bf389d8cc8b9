"""A finished SIF file is known by its SHA-256 in the lock, also once the project has signed it."""

from __future__ import annotations

import hashlib
import shutil
from typing import TYPE_CHECKING

import pytest

from sifmake.project.records import read_record, write_record
from sifmake.sif import open_sif
from sifmake.signing import sign_file
from support.project import Folder
from support.runtime import needs_runtime
from support.signing import KeyPair, pem_pair, signed, write_sif

if TYPE_CHECKING:
    from pathlib import Path

REASON = "apart from the project's signature, it does not have the digest sha256:"
IDENTITY = {"uuid": bytes(range(16)), "time": 1_000_000_000}
KINDS = {"deterministic": {}, "with an identity": IDENTITY, "several groups": {"groups": {1: 1, 2: 2}, **IDENTITY}}


@pytest.fixture
def pair(tmp_path: Path) -> KeyPair:
    return pem_pair(tmp_path)


@pytest.fixture
def project(tmp_path: Path, pair: KeyPair) -> Folder:
    folder = Folder(tmp_path / "project", tmp_path / "home")
    folder.config |= {"key": str(pair.secret), "require-signature": True}
    folder.images = {"app": {"from": "./tool.sif"}}
    folder.write()
    (folder.root / "config/keys").mkdir()
    shutil.copy(pair.public, folder.root / "config/keys")
    return folder


def swap(project: Folder, other: Path) -> None:
    """Put another file in the place of the image, with a receipt that fits."""
    shutil.copy(other, project.target("app"))
    path = project.root / "results/app/publish.json"
    record = read_record(path)
    assert record is not None
    digest = hashlib.sha256(other.read_bytes()).hexdigest()
    result = record["result"] | {"sha256": f"sha256:{digest}", "size": other.stat().st_size}
    write_record(path, "publish", record["key"], result)


def words(project: Folder, tmp_path: Path) -> list[str]:
    return ["sifmake", "seed", "--snakemake-prefix", str(tmp_path / "prefix"), "app"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("came_signed", [False, True])
def test_the_file_of_the_lock_is_taken_and_no_other(
    project: Folder, pair: KeyPair, tmp_path: Path, kind: str, *, came_signed: bool
) -> None:
    source = write_sif(project.root / "tool.sif", **KINDS[kind])
    other = write_sif(tmp_path / "other.sif", **KINDS[kind])
    with open_sif(other) as sif:
        place = sif.get(1).offset
    data = bytearray(other.read_bytes())
    data[place] ^= 1
    other.write_bytes(data)
    signed(other, pair)
    if came_signed:
        signed(source, pair)
    project.build("doit")
    project.run(*words(project, tmp_path))
    project.environ["SIFMAKE_OFFLINE"] = "1"
    project.run("sifmake", "rebuild", "--no-lock")
    # Another trusted key verifies the published file again.
    (tmp_path / "second").mkdir()
    shutil.copy(pem_pair(tmp_path / "second", "secp256r1").public, project.root / "config/keys")
    project.run("sifmake", "stage", "verify", "app")
    project.run("sifmake", "rebuild", "--no-lock")
    swap(project, other)
    assert REASON in project.run(*words(project, tmp_path), status=1)
    assert REASON in project.run("sifmake", "rebuild", "--no-lock", status=1)


@needs_runtime
def test_a_swapped_finished_file_does_not_run(project: Folder, pair: KeyPair, tmp_path: Path) -> None:
    write_sif(project.root / "tool.sif", **IDENTITY)
    project.build("doit")
    other = signed(write_sif(tmp_path / "other.sif", groups={1: 3}, **IDENTITY), pair)
    run = ["sifmake", "exec", "--runtime", "builtin", "images/app.sif", "/bin/true"]
    assert REASON not in project.run(*run, status=None)
    swap(project, other)
    assert REASON in project.run(*run, status=255)


def test_a_file_that_came_unsigned_must_have_the_projects_signature(
    project: Folder, pair: KeyPair, tmp_path: Path
) -> None:
    second = pem_pair(tmp_path, "secp256r1")
    shutil.copy(second.public, project.root / "config/keys")
    source = write_sif(project.root / "tool.sif")
    project.build("doit")
    sign_file(source, tmp_path / "other.sif", second.signer)
    swap(project, tmp_path / "other.sif")
    assert "it is signed by SHA256:" in project.run(*words(project, tmp_path), status=1)
