"""``require-signature``: what was verified is what runs; if file, keys or configuration are wrong, nothing does."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from support.corpus import CORPUS, needs_corpus
from support.images import Blobs, write_layout
from support.layers import file, tar
from support.runtime import as_ordinary, environment, needs_root, needs_runtime, peer_environment, peer_program, run
from support.signing import pem_pair, signed

ROOTFS = CORPUS / "images" / "busybox-official-amd64" / "musl" / "amd64" / "rootfs.tar.gz"
CONFIGURATION = "require-signature: true\ntrusted-keys: [config/keys]\n"
SWAPPING = """
import os, sys
import sifmake.signing as signing

def verify_and_swap(fd, path, *rest, verify=signing.verify_open, **more):
    found = verify(fd, path, *rest, **more)
    os.replace(os.environ["OTHER"], path)
    return found

signing.verify_open = verify_and_swap
from sifmake.cli.main import main
sys.exit(main())
"""
"""Runs ``sifmake`` with someone who puts the file $OTHER in the place of the image as soon as it is verified."""
ACTIONS = {"run": [], "exec": ["true"], "shell": [], "test": []}
USERS = {"root": [], "ordinary": as_ordinary(fuse=True)}


@pytest.fixture(scope="module")
def made():
    """Two SIF files that differ in what /which says, the first signed, in a folder that everybody can read."""
    folder = Path(tempfile.mkdtemp(prefix="sifmake-test-", dir="/var/lib"))
    folder.chmod(0o755)
    pair = pem_pair(folder)
    for name in ("good", "bad"):
        blobs = Blobs()
        layers = [gzip.decompress(ROOTFS.read_bytes()), tar(file("which", f"{name}\n".encode()))]
        config = {"Entrypoint": ["/bin/cat", "/which"], "Env": ["PATH=/bin"]}
        layout = write_layout(folder / name, blobs, [blobs.image(layers, config=config)])
        assert run("pull", str(folder / f"{name}.sif"), f"oci:{layout}", cwd=folder).returncode == 0
    signed(folder / "good.sif", pair)
    for path in folder.glob("*.sif"):
        path.chmod(0o644)
    yield folder, pair
    shutil.rmtree(folder)


@pytest.fixture
def project(made):
    """A project that asks for signatures, with both files in it; the ordinary user owns it."""
    source, pair = made
    folder = Path(tempfile.mkdtemp(prefix="sifmake-test-", dir="/var/lib"))
    (folder / "config" / "keys").mkdir(parents=True)
    shutil.copy(pair.public, folder / "config" / "keys")
    (folder / "config" / "config.yaml").write_text(CONFIGURATION)
    for name in ("good.sif", "bad.sif"):
        shutil.copy(source / name, folder / name)
    for path in [folder, *folder.rglob("*")]:
        os.chown(path, 1000, 1000)
        path.chmod(0o755 if path.is_dir() else 0o644)
    yield folder
    shutil.rmtree(folder)


def swapped(project, *words, before=(), **variables):
    """Run ``sifmake WORDS``, with the good file swapped for the bad one once it is verified."""
    env = environment(OTHER=str(project / "bad.sif"), **variables)
    line = [*before, sys.executable, "-c", SWAPPING, *words]
    done = subprocess.run(line, env=env, cwd=project, capture_output=True, timeout=60, check=False)
    assert not (project / "bad.sif").exists()
    return done


@needs_runtime
@needs_root
@pytest.mark.parametrize("user", USERS)
def test_what_was_verified_is_what_runs(project, user):
    done = swapped(project, "run", "--runtime", "builtin", "good.sif", before=USERS[user])
    assert (done.returncode, done.stdout) == (0, b"good\n"), done.stderr
    done = run("run", "good.sif", cwd=project)
    assert (done.returncode, done.stdout) != (0, b"good\n")


@pytest.fixture
def peer(made):
    """A stand-in for apptainer that prints the digest of the image that it should run."""
    folder = Path(tempfile.mkdtemp(prefix="sifmake-test-"))
    folder.chmod(0o755)
    (folder / "apptainer").write_text('#!/bin/sh\nfor w; do case $w in *.sif) sha256sum "$w";; esac; done\n')
    (folder / "apptainer").chmod(0o755)
    yield f"{folder}:{os.environ['PATH']}"
    shutil.rmtree(folder)


@needs_runtime
@needs_root
@pytest.mark.parametrize("user", USERS)
def test_no_peer_starts_on_another_file(project, peer, user):
    done = swapped(project, "run", "good.sif", before=USERS[user], PATH=peer)
    assert (done.returncode, done.stdout) == (255, b"")
    assert b"was replaced while it was verified" in done.stderr


SWAP_LATER = """#!/bin/sh
mv "$OTHER" good.sif
for w; do case $w in *.sif) cat "$w" | sha256sum;; esac; done
"""


@needs_runtime
@needs_root
def test_nobody_can_swap_what_root_hands_to_a_peer(project, peer):
    """The stand-in swaps the file itself before it opens it."""
    Path(peer.partition(":")[0], "apptainer").write_text(SWAP_LATER)
    digest = hashlib.sha256((project / "good.sif").read_bytes()).hexdigest()
    env = environment(OTHER=str(project / "bad.sif"), PATH=peer)
    done = run("run", "good.sif", env=env, cwd=project)
    assert (done.returncode, done.stdout[:64].decode()) == (0, digest), done.stderr
    assert hashlib.sha256((project / "good.sif").read_bytes()).hexdigest() != digest


@needs_runtime
@needs_root
@pytest.mark.peers
@pytest.mark.parametrize("name", ["apptainer", "singularity"])
def test_a_real_peer_runs_the_verified_file(project, name):
    program = peer_program(name)
    if not program:
        pytest.skip(f"{name} is neither on PATH nor in $SIFMAKE_PEERS")
    done = run("run", "-q", "--runtime", name, "good.sif", env=peer_environment(program), cwd=project)
    assert (done.returncode, done.stdout) == (0, b"good\n"), done.stderr


BROKEN = {
    "unsigned": (lambda project: shutil.copy(project / "bad.sif", project / "good.sif"), "it is not signed"),
    "altered": (lambda project: flip(project / "good.sif"), "does not verify"),
    "no keys": (lambda project: [path.unlink() for path in (project / "config" / "keys").iterdir()], "does not verify"),
    "no folder of keys": (lambda project: shutil.rmtree(project / "config" / "keys"), "trusted keys cannot be read"),
    "unreadable keys": (lambda project: (project / "config" / "keys").chmod(0), "trusted keys cannot be read"),
    "unreadable configuration": (lambda project: (project / "config" / "config.yaml").chmod(0), "Permission denied"),
    "broken configuration": (
        lambda project: (project / "config" / "config.yaml").write_text("require-signature: [\n"),
        "config.yaml",
    ),
    "escaped word": (
        lambda project: [
            (project / "config" / "config.yaml").write_text('"require-\\x73ignature": true\n'),
            shutil.copy(project / "bad.sif", project / "good.sif"),
        ],
        "it is not signed",
    ),
    "UTF-16": (
        lambda project: (project / "config" / "config.yaml").write_text(CONFIGURATION, encoding="utf-16"),
        "not UTF-8",
    ),
    "no SIF file": (lambda project: (project / "good.sif").write_text("#!/bin/sh\n"), "not a SIF file"),
}


def flip(path):
    """Change one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@needs_runtime
@needs_root
@pytest.mark.parametrize("action", ACTIONS)
def test_every_action_asks_for_the_signature(project, action):
    assert run(action, "good.sif", *ACTIONS[action], cwd=project).returncode == 0
    done = run(action, "bad.sif", *ACTIONS[action], cwd=project)
    assert done.returncode == 255
    assert b"refusing to run: the file does not verify: it is not signed" in done.stderr


@needs_runtime
@needs_root
@pytest.mark.parametrize("case", BROKEN)
def test_fails_closed(project, case):
    change, message = BROKEN[case]
    change(project)
    done = run("run", "good.sif", before=as_ordinary(fuse=True), cwd=project)
    assert (done.returncode, done.stdout) == (255, b"")
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@needs_runtime
def test_an_image_that_is_never_signed_is_not_even_pulled(project):
    """Nothing listens on that port: a request would be another error."""
    done = run("exec", "docker://localhost:1/some/image", "true", cwd=project)
    assert done.returncode == 255
    assert b"images from this source cannot be signed" in done.stderr
    done = run("exec", "--no-https", "oras://localhost:1/some/image:1", "true", cwd=project)
    assert done.returncode != 0
    assert b"not signed" not in done.stderr


@needs_runtime
@pytest.mark.parametrize("kind", ["file", "no file", "other words"])
def test_other_folders_ask_for_nothing(made, tmp_path, kind):
    """A folder may have a file that is called config, and a configuration that says no."""
    if kind == "file":
        (tmp_path / "config").write_text("[core]\n")
    elif kind == "other words":
        (tmp_path / "config").mkdir()
        (tmp_path / "config" / "config.yaml").write_text("require-signature: false\n")
    assert run("run", str(made[0] / "bad.sif"), cwd=tmp_path).stdout == b"bad\n"


@needs_runtime
@needs_corpus
@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("denied", [True, False])
def test_what_a_denied_key_signed_under_a_good_name_does_not_run(tmp_path, action, denied):
    """B signed it, the unsigned part of the signature and the descriptor name A: it was run."""
    security, keys = CORPUS / "security", tmp_path / "config" / "keys"
    keys.mkdir(parents=True)
    (tmp_path / "sifmake.yaml").write_text(CONFIGURATION)
    for name in "AB":
        shutil.copy(security / f"{name}.asc", keys)
    (keys / "denied.txt").write_text("28516792027D42B37621826DB67501553B290B5C\n" if denied else "")
    done = run(action, "--runtime", "builtin", str(security / "BasA.sif"), *ACTIONS[action], cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count(b"\n")) == (255, b"", 1)
    reason = b"is on the deny list" if denied else b"names another key than the one that made it"
    assert reason in done.stderr
