"""Files of keys from strangers: what they hold is counted before it is read, and what they lead to is not followed."""

from __future__ import annotations

import base64
import os
import sys

import pytest

from support.measured import measured, run_measured
from support.pgp_craft import CraftedKey, certificate, clear_signed, crafted_sif, packet
from support.project import Folder

MIB = 1 << 20
KEY = CraftedKey()
SELF = KEY.sign(KEY.hashed + b"\xb4\0\0\0\7A <a@x>", b"", KEY.short, kind=0x13)
REPEATED = {
    "user IDs": packet(13, b"U <u@x>"),
    "subkeys": packet(14, CraftedKey().body),
    "signatures": packet(2, SELF),
    "certificates": certificate(CraftedKey(), "B <b@x>"),
    "unknown packets": packet(60, b"x"),
    "empty packets": b"\xfc\0",
    "markers": packet(10, b"PGP"),
}


def armored(data, *, head=b"\n", between=b""):
    lines = base64.encodebytes(data).replace(b"\n", b"\n" + between)
    return b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n" + head + lines + b"\n-----END PGP PUBLIC KEY BLOCK-----\n"


FORMS = {
    "binary": lambda data: data,
    "armored": armored,
    "armored, with a comment": lambda data: armored(data, head=b"Comment: x\n\n"),
    "armored, without a blank line": lambda data: armored(data, head=b""),
}


@pytest.fixture(scope="module")
def good():
    return certificate(KEY, "A <a@x>")


def check(tmp_path, data, reason):
    path = tmp_path / "key.asc"
    path.write_bytes(data)
    sif = crafted_sif(tmp_path / "a.sif", KEY, lambda text: clear_signed(text, packet(2, KEY.sign_text(text))))
    for words in (["verify", "--key", str(path), str(sif)], ["key", "import", str(path)]):
        ran = measured(*words, cwd=tmp_path, SIFMAKE_CONFIG_DIR=str(tmp_path / "configuration"))
        assert (ran.status, ran.err.count("\n")) == (1, 1), ran.err
        assert reason in ran.err
        assert ran.memory < 256 * MIB
        assert ran.seconds < 5
    assert not (tmp_path / "configuration").exists()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("what", REPEATED)
def test_a_file_of_keys_has_not_too_many_packets(tmp_path, good, what, form):
    data = FORMS[form](good + REPEATED[what] * min(6_000_000 // len(REPEATED[what]), 400_000))
    check(tmp_path, data, "the file has more than 5000 OpenPGP packets (a limit)")


def test_large_armor_that_cannot_be_told_apart_is_refused(tmp_path, good):
    data = armored(good + REPEATED["unknown packets"] * 300_000, between=b"=" + b"a" * 60 + b"\n")
    check(tmp_path, data, "not an OpenPGP certificate, or a damaged one")


@pytest.mark.parametrize("what", ["user IDs", "subkeys", "signatures"])
def test_as_many_as_are_read_do_not_take_long(tmp_path, good, what):
    path = tmp_path / "key.asc"
    path.write_bytes(good + REPEATED[what] * 4900)
    ran = measured("key", "import", str(path), cwd=tmp_path, SIFMAKE_CONFIG_DIR=str(tmp_path / "configuration"))
    assert ran.status == 0, ran.err
    assert ran.seconds < 5


@pytest.mark.parametrize("target", ["/dev/zero", "pipe", "missing", "."])
@pytest.mark.parametrize("name", ["denied.txt", "x.pem", "x.asc"])
def test_a_link_among_the_trusted_keys_leads_nowhere(tmp_path, name, target):
    """A pull request may contain one."""
    project = Folder(tmp_path / "project", tmp_path / "home", images={"a": {"from": "docker://127.0.0.1:9/a:1"}})
    project.write()
    (project.root / "config/keys").mkdir()
    os.mkfifo(project.root / "pipe")
    (project.root / "config/keys" / name).symlink_to(target if target.startswith("/") else f"../../{target}")
    code = (
        "from pathlib import Path; from sifmake.project.project import Project; project = Project(Path('.'));"
        "print(project.trust_digest); from sifmake.project.keys import load_project_trust;"
        "load_project_trust(project.configuration)"
    )
    environ = project.variables() | {"HOME": str(tmp_path)}
    ran = run_measured([sys.executable, "-c", code], project.root, environ)
    assert ran.memory < 256 * MIB
    assert ran.seconds < 5
    assert ran.status == 1
    assert "KeyFileError" in ran.err
