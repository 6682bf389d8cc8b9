"""Two pulls of one image give one file, wherever and however they run."""

import os
import subprocess
import sys
from pathlib import Path

from support.images import Blobs, write_layout, write_oci_archive
from support.layers import file, folder, hardlink, symlink, tar

LAYERS = [
    tar(folder("etc"), file("etc/hosts", b"1"), file("bin/tool", os.urandom(300_000), mode=0o755), symlink("l", "bin")),
    tar(*(file(f"d/{n}", bytes([n]) * n * 100) for n in range(200)), hardlink("tool2", "bin/tool")),
    tar(*(file(f"d/.wh.{n}") for n in range(0, 200, 7))),
]


def pull(target: Path, uri: str, cwd: Path, *, umask: int = 0o22, **environ: str) -> bytes:
    program = f"import os,sys; os.umask({umask}); from sifmake.cli.main import main; sys.exit(main())"
    env = {"PATH": os.environ["PATH"], "SIFMAKE_CACHE": str(cwd / "cache"), **environ}
    command = [sys.executable, "-c", program, "-q", "pull", str(target), uri]
    subprocess.run(command, check=True, cwd=cwd, env=env)
    return target.read_bytes()


def test_store_folder_umask_locale_and_time_do_not_matter(tmp_path):
    blobs = Blobs()
    image = blobs.image(LAYERS, config={"Env": ["A=b"], "Labels": {"z": "1", "a": "<&>"}})
    write_layout(tmp_path / "layout", blobs, {"latest": image})
    uri = f"oci:{tmp_path}/layout:latest"
    here, there = tmp_path / "here", tmp_path / "there and back @ ü"
    (there / "tmp").mkdir(parents=True)
    here.mkdir()
    one = pull(here / "a.sif", uri, here)
    two = pull(
        there / "b.sif",
        uri,
        there,
        umask=0o77,
        LC_ALL="C",
        TZ="Pacific/Auckland",
        TMPDIR=str(there / "tmp"),
        HOME="/none",
    )
    assert one == two
    assert (here / "a.sif").stat().st_mode & 0o777 == 0o755
    assert (there / "b.sif").stat().st_mode & 0o777 == 0o700


def test_compression_of_layers_does_not_matter_to_the_packs(tmp_path):
    trees = []
    for compression in ("none", "gzip", "zstd"):
        blobs = Blobs()
        write_layout(tmp_path / compression, blobs, {"latest": blobs.image(LAYERS, compression=compression)})
        folder_ = tmp_path / f"run-{compression}"
        folder_.mkdir()
        pull(folder_ / "x.sif", f"oci:{tmp_path / compression}:latest", folder_)
        trees.append(
            {path.name: path.read_bytes() for path in (folder_ / "cache" / "packs").rglob("*") if path.is_file()}
        )
    assert trees[0] == trees[1] == trees[2]
    assert len(trees[0]) == 3


def test_an_archive_differs_in_the_name_of_the_source_only(tmp_path):
    blobs = Blobs()
    image = blobs.image(LAYERS)
    write_layout(tmp_path / "same", blobs, {"latest": image})
    (tmp_path / "archive").mkdir()
    write_oci_archive(tmp_path / "archive" / "same", blobs, {"latest": image})
    one = pull(tmp_path / "a.sif", f"oci:{tmp_path}/same:latest", tmp_path)
    two = pull(tmp_path / "b.sif", f"oci-archive:{tmp_path}/archive/same:latest", tmp_path)
    assert b"bootstrap: oci\nfrom: same:latest\n" in one
    assert b"bootstrap: oci-archive\nfrom: same:latest\n" in two
