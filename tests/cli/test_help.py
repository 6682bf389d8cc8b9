"""Every command and every subcommand explains itself and takes the options that all take."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from sifmake.cli.main import COMMANDS, main

if TYPE_CHECKING:
    from pathlib import Path

ACTIONS = {
    "sif": ["list", "header", "info", "dump", "digest"],
    "key": ["newpair", "list", "import", "export", "remove"],
    "registry": ["login", "logout", "list"],
    "cache": ["list", "verify", "gc", "clean", "export", "import", "push", "pull"],
}
WORDS = [[name] for name in COMMANDS] + [[name, action] for name, actions in ACTIONS.items() for action in actions]


def help_of(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    with pytest.raises(SystemExit) as caught:
        main([*words, "--help"])
    assert caught.value.code == 0
    return capsys.readouterr().out


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_every_command_says_what_it_does_and_what_its_words_mean(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    text = help_of(words, capsys)
    usage, sentence = text.split("\n\n")[:2]
    assert re.fullmatch(r"[A-Z].*\.\n?", sentence, re.DOTALL), sentence
    assert "show this help message" in text
    assert "--quiet" in text
    bare = re.findall(r"^  (?:-\S+(?:, --\S+)?(?: [A-Z]+)?|[A-Z]+)\n(?!     )", text, re.MULTILINE)
    assert [name for name in bare if name.strip() not in {"COMMAND", "ACTION"}] == [], "without a word of help"
    assert usage.startswith("usage: sifmake " + " ".join(words))


def test_the_lists_are_whole(capsys: pytest.CaptureFixture[str]) -> None:
    for name, actions in ACTIONS.items():
        assert re.findall(r"^    ([a-z]+) ", help_of([name], capsys), re.MULTILINE) == actions


def test_options_for_all_may_stand_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    for words in (["key", "list"], ["cache", "list"], ["cache", "gc", "--max-age", "1d"]):
        assert main([*words, "-q"]) == 0


def test_a_defect_is_one_line_and_a_traceback_only_when_asked_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def defect(*_: object) -> None:
        raise ValueError("two\nlines")

    monkeypatch.setattr("sifmake.cli.main.run_command", defect)
    assert main(["cache", "list"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("sifmake: error: ValueError: two\\nlines; this is a bug in sifmake: please report it")
    assert error.count("\n") == 1
    with pytest.raises(ValueError, match="two"):
        main(["--debug", "cache", "list"])


@pytest.mark.parametrize(("closed", "said"), [("1", ("", "warning: this goes to standard error")), ("2", ("{}", ""))])
def test_closed_files_take_what_is_written(tmp_path: Path, closed: str, said: tuple[str, str]) -> None:
    script = (
        "import sys\nfrom sifmake.cli import main\n"
        "def write(args):\n"
        "    sys.stdout.write('{}')\n"
        "    sys.stderr.write('warning: this goes to standard error')\n"
        "    return 0\n"
        "main.run_command = write\n"
        "sys.exit(main.main(['cache', 'list']))\n"
    )
    (tmp_path / "run.py").write_text(script)
    command = f"exec {closed}>&-; exec {sys.executable} {tmp_path}/run.py"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == said


def test_help_before_a_command_lists_all_of_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--help", "pull"])
    assert caught.value.code == 0
    listed = capsys.readouterr().out
    assert all(re.search(rf"^    {name} ", listed, re.MULTILINE) for name in COMMANDS)
