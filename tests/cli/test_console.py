from __future__ import annotations

import io
import os
import threading

import pytest

from sifmake.cli.console import Console, human_size


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def screen(text: str) -> list[str]:
    """Return what a terminal shows after the text: enough of one for what the console writes."""
    lines: list[str] = []
    row = 0
    for piece in text.split("\x1b["):
        if piece[:1].isdigit() and "A" in piece[:4]:
            up, _, piece = piece.partition("A")  # noqa: PLW2901
            row -= int(up)
        elif piece.startswith("J"):
            del lines[row:]
            piece = piece[1:]  # noqa: PLW2901
        for line in piece.split("\n")[:-1]:
            lines[row : row + 1] = [line]
            row += 1
    return lines


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("sifmake.cli.console.REDRAW_SECONDS", 0)
    return Terminal()


def test_bars_stand_below_messages_and_leave_a_line(terminal: Terminal) -> None:
    console = Console(stream=terminal)
    first, second = console.task("sha256:aaa", 2048), console.task("sha256:bbb", 4096)
    first.advance(1024)
    console.info("a message")
    shown = screen(terminal.getvalue())
    assert shown[0] == "a message"
    assert shown[1] == "sha256:aaa  [============>           ]  50%  1.0 KiB / 2.0 KiB"
    assert shown[2].startswith("sha256:bbb  [>")
    first.advance(1024)
    first.finish()
    second.finish("in store")
    shown = screen(terminal.getvalue())
    assert shown[1].startswith("sha256:aaa  done, 2.0 KiB in ")
    assert shown[2:] == ["sha256:bbb  in store"]


def test_long_lines_are_cut_and_many_bars_are_bounded(terminal: Terminal) -> None:
    console = Console(stream=terminal)
    tasks = [console.task("x" * 200, 10) for _ in range(50)]
    tasks[0].advance(1)
    shown = screen(terminal.getvalue())
    assert len(shown) == 10
    assert {len(line) for line in shown} == {79}
    console.close()
    assert screen(terminal.getvalue()) == []


def test_elsewhere_there_are_plain_lines() -> None:
    stream = io.StringIO()
    console = Console(stream=stream)
    task = console.task("layer\x1b[31m", 100)
    task.advance(100)
    task.finish()
    console.warning("odd\nname")
    first, second = stream.getvalue().splitlines()
    assert first.startswith("layer\\x1b[31m  done, 100 B in ")
    assert second == "sifmake: warning: odd\\nname"


def test_quiet_shows_warnings_only(terminal: Terminal) -> None:
    console = Console(quiet=True, stream=terminal)
    console.info("no")
    task = console.task("no", 1)
    task.advance(1)
    task.finish()
    console.warning("yes")
    assert terminal.getvalue() == "sifmake: warning: yes\n"


def test_threads_may_report_at_the_same_time(terminal: Terminal) -> None:
    console = Console(stream=terminal)

    def work(number: int) -> None:
        task = console.task(f"task{number}", 100)
        for _ in range(100):
            task.advance(1)
        task.finish("ok")

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(screen(terminal.getvalue())) == [f"task{number}  ok" for number in range(8)]


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (5 << 20, "5.0 MiB"), (3 << 40, "3072.0 GiB")]
)
def test_sizes_read_as_people_write_them(size: int, text: str) -> None:
    assert human_size(size) == text


def test_the_default_stream_is_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    Console().info("hello")
    assert capfd.readouterr().err == "hello" + os.linesep
