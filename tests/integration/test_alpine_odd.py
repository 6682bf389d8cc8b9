"""One odd image in all its forms: ``sifmake pull`` gives the tree that ``docker export`` gives."""

import gzip
import os
import shutil
from pathlib import Path

import pytest

from sifmake.cli.main import main
from support.corpus import CORPUS, needs_corpus
from support.flat_listing import DOCKERS_CONTENT, DOCKERS_OWN, RUNTIMES_OWN, read_listing
from support.sif_files import partition_of
from support.squashfs_tools import Row, kernel_mount, needs_kernel, read_rows

SKOPEO = CORPUS / "generated" / "skopeo"
DOCKER = CORPUS / "generated" / "docker-20.10"
FORMS = {
    "oci": f"oci:{SKOPEO}/alpine-odd.oci",
    "zstd": f"oci:{SKOPEO}/alpine-odd-zstd.oci",
    "zstd:chunked": f"oci:{SKOPEO}/alpine-odd-zstdchunked.oci",
    "oci-archive": f"oci-archive:{SKOPEO}/alpine-odd.oci-archive.tar",
    "docker-archive": f"docker-archive:{DOCKER}/alpine-odd.docker.tar",
}
UNREPRESENTABLE = {b"odd/far": 0xFFFFFFFF, b"odd/preepoch": 0}
"""Times outside what squashfs can hold are moved to the nearest; ext4, where the listing was made, shows 0."""


@pytest.fixture
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def check_tree(sif: Path, folder: Path) -> None:
    with kernel_mount(partition_of(sif), folder / "mnt") as top:
        got = {path: row for path, row in read_rows(top).items() if path and path.split(b"/")[0] not in RUNTIMES_OWN}
    want = {path: row for path, row in read_listing().items() if os.fsdecode(path) not in DOCKERS_OWN}
    assert got.keys() == want.keys() | {b"var/tmp"} & got.keys()
    differing = {path: (comparable(path, got[path]), comparable(path, row)) for path, row in want.items()}
    assert {path: rows for path, rows in differing.items() if rows[0] != rows[1]} == {}
    assert {path: got[path].mtime for path in UNREPRESENTABLE} == UNREPRESENTABLE


def comparable(path: bytes, row: Row) -> Row:
    """Leave open what Docker, not the image, decided: see ../shared/corpus/README.md."""
    name = os.fsdecode(path)
    row = row._replace(links=0)
    if name in ("dev", "etc") or path in UNREPRESENTABLE:
        row = row._replace(mtime=0)
    if name in DOCKERS_CONTENT:
        row = row._replace(mtime=0, sha256="", size=0, mode=0)
    return row


@needs_corpus
@needs_kernel
@pytest.mark.parametrize("form", FORMS)
def test_tree_equals_the_exported_one(form, tmp_path, cache):
    sif = tmp_path / "x.sif"
    assert main(["-q", "pull", str(sif), FORMS[form]]) == 0
    check_tree(sif, tmp_path)


@needs_corpus
@needs_kernel
@pytest.mark.parametrize("form", ["oci-archive", "docker-archive"])
def test_a_gzip_compressed_archive_too(form, tmp_path, cache):
    transport, _, path = FORMS[form].partition(":")
    with open(path, "rb") as source, gzip.open(tmp_path / "image.tar.gz", "wb", compresslevel=1) as target:
        shutil.copyfileobj(source, target)
    sif = tmp_path / "x.sif"
    assert main(["-q", "pull", str(sif), f"{transport}:{tmp_path}/image.tar.gz"]) == 0
    check_tree(sif, tmp_path)


@needs_corpus
@needs_kernel
def test_zstd_blocks_too(tmp_path, cache):
    sif = tmp_path / "x.sif"
    assert main(["-q", "pull", "--compression", "zstd", str(sif), FORMS["oci"]]) == 0
    check_tree(sif, tmp_path)


@needs_corpus
def test_gzip_and_zstd_layers_share_packs(tmp_path, cache):
    """The DiffIDs are the same, so the second form fetches and packs nothing."""
    assert main(["-q", "pull", str(tmp_path / "a.sif"), FORMS["oci"]]) == 0
    before = sorted((path.name, path.stat().st_ino) for path in (cache / "packs").rglob("*") if path.is_file())
    assert main(["-q", "pull", str(tmp_path / "b.sif"), FORMS["zstd"]]) == 0
    after = sorted((path.name, path.stat().st_ino) for path in (cache / "packs").rglob("*") if path.is_file())
    assert before == after != []
