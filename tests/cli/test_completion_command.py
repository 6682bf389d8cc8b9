"""Completion scripts, each in the shell that it is for."""

from __future__ import annotations

import os
import pty
import select
import shutil
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest

from support.project import BIN

if TYPE_CHECKING:
    from pathlib import Path

SHELLS = ("bash", "zsh", "fish")


def needs(shell: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(shutil.which(shell) is None, reason=f"{shell} is not installed")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tmp_path = tmp_path_factory.mktemp("project")
    (tmp_path / "config/locks").mkdir(parents=True)
    for name in ("python_3.12", "pylons", "hello"):
        (tmp_path / f"config/locks/{name}.yaml").touch()
    for shell in SHELLS:
        done = subprocess.run([BIN / "sifmake", "completion", shell], capture_output=True, check=True, text=True)
        (tmp_path / f"script.{shell}").write_text(done.stdout)
    return tmp_path


def bash(project: Path, *words: str) -> list[str]:
    code = 'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _sifmake; printf "%s\\n" "${COMPREPLY[@]}"'
    command = ["bash", "-c", code, "bash", project / "script.bash", "sifmake", *words]
    return subprocess.run(command, capture_output=True, check=True, text=True, cwd=project).stdout.split()


def fish(project: Path, *words: str) -> list[str]:
    line = " ".join(("sifmake", *words))
    command = ["fish", "--no-config", "-c", f"source script.fish; complete -C '{line}'"]
    home = {"HOME": str(project), "XDG_CONFIG_HOME": str(project), "XDG_DATA_HOME": str(project)}
    done = subprocess.run(command, capture_output=True, check=True, text=True, cwd=project, env=os.environ | home)
    assert done.stderr == ""
    return [row.partition("\t")[0] for row in done.stdout.splitlines()]


def zsh(project: Path, *words: str) -> list[str]:
    """Type a line into an interactive zsh, press Tab, and return the words that are on the line then."""
    environ = os.environ | {"ZDOTDIR": str(project), "TERM": "dumb", "HOME": str(project)}
    pid, fd = pty.fork()
    if pid == 0:
        os.chdir(project)
        os.execvpe("zsh", ["zsh", "-f", "-i"], environ)  # noqa: S606
    # What is typed while zsh completes changes what it does, so it says when it is done.
    tab = (
        "complete_word() { zle expand-or-complete; print -n do''ne }; zle -N complete_word; bindkey '^I' complete_word"
    )
    setup = f"autoload -U compinit; compinit -D -u; source script.zsh; PS1='> '; unsetopt BEEP; {tab}; print re''ady"
    os.write(fd, f"{setup}\n".encode())
    read_until(fd, "\nready")
    os.write(fd, " ".join(("sifmake", *words)).encode() + b"\t")
    read_until(fd, "done")
    os.write(fd, b"\x01: \x05 end\n")
    text = read_until(fd, "end")
    os.write(fd, b"\nexit\n")
    os.close(fd)
    os.waitpid(pid, 0)
    return text.split()


def read_until(fd: int, mark: str) -> str:
    text, deadline = "", time.monotonic() + 60
    while mark not in text and time.monotonic() < deadline:
        if select.select([fd], [], [], 0.2)[0]:
            text += os.read(fd, 65536).decode(errors="replace")
    assert mark in text, text
    return text


@needs("bash")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pu"], {"pull", "push"}),
        (["pull", "--compr"], {"--compression"}),
        (["pull", "--compression", ""], {"gzip", "fast", "zstd"}),
        (["key", "im"], {"import"}),
        (["lock", "py"], {"python_3.12", "pylons"}),
        (["sif", "dump", "--d"], {"--debug"}),
    ],
)
def test_bash(project: Path, words: list[str], expected: set[str]) -> None:
    assert set(bash(project, *words)) == expected


@needs("fish")
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["pu"], {"pull", "push"}),
        (["pull", "--compr"], {"--compression"}),
        (["pull", "--compression", ""], {"gzip", "fast", "zstd"}),
        (["key", "im"], {"import"}),
        (["lock", "py"], {"python_3.12", "pylons"}),
    ],
)
def test_fish(project: Path, words: list[str], expected: set[str]) -> None:
    assert set(fish(project, *words)) == expected


@needs("zsh")
@pytest.mark.parametrize(
    ("words", "completed"),
    [
        (["comp"], "completion"),
        (["pull", "--compr"], "--compression"),
        (["key", "im"], "import"),
        (["lock", "pyt"], "python_3.12"),
    ],
)
def test_zsh(project: Path, words: list[str], completed: str) -> None:
    assert completed in zsh(project, *words)


def test_a_shell_that_nobody_wrote_a_script_for() -> None:
    done = subprocess.run([BIN / "sifmake", "completion", "tcsh"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "tcsh" in done.stderr


def test_completing_a_word_starts_no_python(project: Path) -> None:
    assert not any("python" in (project / f"script.{shell}").read_text().splitlines()[0] for shell in SHELLS)
    assert sys.executable not in "".join((project / f"script.{shell}").read_text() for shell in SHELLS)
