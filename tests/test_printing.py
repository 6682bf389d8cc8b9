"""What steers a terminal reaches it from nowhere: names in stores, files of credentials, registries, images, errors."""

from __future__ import annotations

import ast
import io
import json
import os
import pty
import re
import sys
from pathlib import Path

import pytest

import sifmake
from sifmake import printing
from sifmake.cli.console import Console
from sifmake.cli.main import main
from sifmake.errors import SifmakeError
from support.registry import Answer, FakeRegistry

EVIL = "\x1b]0;owned\x07\x1b[2J\x9b31m\x7f\u202e"
STEERS = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]")
SOURCES = sorted(Path(sifmake.__file__).parent.rglob("*.py"))
MAY_WRITE = {
    "drivers/stage_helper.py": "the name of its own socket",
    "cli/pull_words.py": "a prompt",
    "cli/registry_command.py": "a prompt",
    "cli/build_command.py": "what a script prints, as it comes",
    "rootless/probe.py": "the answer to the process that started it",
    "rootless/tree_facts.py": "the same",
}


def test_nothing_else_writes_to_the_terminal():
    """``print``, ``json.dump`` to a stream and ``write`` of the standard streams: only where a comment says why."""
    found = set()
    for path in SOURCES:
        name = str(path.relative_to(Path(sifmake.__file__).parent))
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and writes(ast.unparse(node)):
                found.add(name)
    assert found == MAY_WRITE.keys()


def writes(call: str) -> bool:
    return bool(re.match(r"sys\.std(out|err)(\.buffer)?\.write|print\(|json\.dump\(.*sys\.std", call))


def shown(capfd) -> str:
    out, err = capfd.readouterr()
    assert not STEERS.search(out + err), (out, err)
    return out + err


def test_names_in_a_store(monkeypatch, tmp_path, capfd):
    store = tmp_path / "store"
    monkeypatch.setenv("SIFMAKE_CACHE", str(store))
    for folder in ("packs/ab", "patches/ab", "indexes/ab", "names/ab", "sif/ab", "blobs/sha256/ab"):
        (store / folder).mkdir(parents=True, mode=0o700)
        (store / folder / f"{EVIL}ab").write_bytes(b"x")
    main(["cache", "list", "-v"])
    listed = shown(capfd)
    assert r"\x1b]0;owned" in listed
    assert "pack" in listed
    for words in (["list", "--json"], ["verify"], ["gc"], ["clean", "--force"]):
        main(["cache", *words])
    shown(capfd)


def test_registries_in_a_file_of_credentials(tmp_path, capfd):
    entry = {"username": f"user{EVIL}", "password": "x"}
    path = tmp_path / f"auth{EVIL}.json"
    path.write_text(json.dumps({"auths": {f"registry.example{EVIL}": entry}}))
    for form in ([], ["--json"]):
        assert main(["registry", "list", "--authfile", str(path), *form]) == 0
    text = shown(capfd)
    assert r"registry.example\x1b]0;owned" in text


@pytest.mark.parametrize("part", ["/manifests/", "/blobs/", "/token"])
def test_words_of_a_registry(tmp_path, monkeypatch, capfd, part):
    monkeypatch.chdir(tmp_path)
    words = json.dumps({"errors": [{"code": EVIL, "message": EVIL}]}).encode()
    headers = {
        "Location": EVIL.replace("\x07", "").replace("\x1b", "%1b").encode().decode("latin-1"),
        "WWW-Authenticate": 'Bearer realm="\x9b31m"',
    }
    for status in (401, 404, 500, 403, 302):
        with FakeRegistry() as registry:
            registry.tag("org/image", "1", registry.blobs.image([b"x"]))
            registry.on("GET", part, Answer(status, words, headers))
            main(["pull", "x.sif", f"docker://{registry.host}/org/image:1"])
    shown(capfd)


def test_bars_lines_and_notes(capfd):
    console = Console()
    console.info(EVIL)
    console.warning(EVIL)
    console.task(EVIL, 5).finish(EVIL)
    shown(capfd)


def test_errors_of_every_kind(capfd, monkeypatch):
    from sifmake.cli import main as module

    for error in (SifmakeError(EVIL, where=EVIL, hint=EVIL), OSError(2, EVIL, EVIL), ValueError(EVIL)):
        monkeypatch.setattr(module, "run_command", lambda _, error=error: (_ for _ in ()).throw(error))
        assert main(["cache", "list"]) == 1
    shown(capfd)


@pytest.mark.parametrize(
    "words",
    [["inspect", "a", EVIL], ["cache", EVIL], [EVIL], ["cache", "gc", f"--{EVIL}"], ["pull", f"--mksquashfs={EVIL}"]],
)
def test_complaints_about_words(capfd, words):
    with pytest.raises(SystemExit):
        main(words)
    shown(capfd)


def test_json_and_odd_encodings(capfd, monkeypatch):
    printing.print_json({EVIL: EVIL})
    assert json.loads(capfd.readouterr().out) == {EVIL: EVIL}
    narrow = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", narrow)
    printing.print_lines(["\u20ac\udcff"])
    narrow.flush()
    assert narrow.buffer.getvalue() == b"\\u20ac\\udcff\n"


def test_a_text_of_an_image_is_whole_in_a_file_and_tame_on_a_terminal(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stdout", terminal)
        printing.print_text(f"one\t{EVIL}\ntwo\n")
        shown_text = os.read(ours, 1000).decode()
    os.close(ours)
    assert not STEERS.search(shown_text.replace("\r\n", "\n").replace("\t", ""))
    kept = io.TextIOWrapper(io.BytesIO())
    monkeypatch.setattr(sys, "stdout", kept)
    printing.print_text(f"one\t{EVIL}\ntwo\n")
    assert kept.buffer.getvalue().decode() == f"one\t{EVIL}\ntwo\n"
