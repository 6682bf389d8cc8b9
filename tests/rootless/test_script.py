"""Marks in a script's trace, and the line that they lead to."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from sifmake.rootless.script import TraceReader, is_shell, line_of, with_marks

SHELLS = [["dash"], ["bash"], ["bash", "--posix"], ["busybox", "ash"]]
SCRIPT = b"""A='x y'; export B="it's
two"
f() {
  test "$A"
}
f
cd /usr   # where else
for i in 1 2; do
  echo "$i"
done
false
"""


def trace(shell, script, path, words=("sh", "x")):
    if not shutil.which(shell[0]):
        pytest.skip(f"{shell[0]} is not on this machine")
    path.write_bytes(with_marks(script, words, restore=False, carry=False))
    done = subprocess.run([*shell, "-ex", str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    out: list[bytes] = []
    reader = TraceReader(out.append)
    for at in range(0, len(done.stdout), 7):
        reader.feed(done.stdout[at : at + 7])
    reader.end()
    return reader, b"".join(out), done.returncode


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
def test_the_trace_is_as_without_marks(shell, tmp_path):
    reader, output, status = trace(shell, SCRIPT, tmp_path / "script")
    plain = trace(shell, SCRIPT, tmp_path / "plain", words=("python3", "x"))[1]
    assert output == plain
    assert status == 1
    assert (line_of(SCRIPT, reader), reader.command) == (11, b"false")


@pytest.mark.parametrize("shell", SHELLS, ids="-".join)
@pytest.mark.parametrize(("script", "line"), [
    (b"true\n  test -e '/no such thing'\n", 2),
    (b"# a comment\n\nls /no-such-thing >/dev/null 2>&1", 3),
    (b"true \\\n  && true\nset -u\nexit 3", 4),
    (b'N=/no-such; cd /usr\ntest -e "$N"\ntrue\n', 2),
])  # fmt: skip
def test_the_last_line_is_found(shell, script, line, tmp_path):
    reader, _, status = trace(shell, script, tmp_path / "script")
    assert status
    assert line_of(script, reader) == line


def test_a_line_that_cannot_be_told_is_none():
    reader = TraceReader(lambda _: None)
    reader.feed(b"+\2\3 echo\n")
    assert line_of(b"echo 1\necho 2\n", reader) == 0
    reader.feed(b"+\x0299\3 echo\n")
    assert line_of(b"echo 1\n", reader) == 0


def test_output_is_passed_on_in_whole_lines_and_not_kept_for_ever():
    out: list[bytes] = []
    reader = TraceReader(out.append)
    reader.feed(b"a\nb")
    assert out == [b"a\n"]
    reader.feed(b"c" * 70_000)
    assert len(out) == 2
    reader.feed(b"x+\x027\3 late\n")
    assert out[-1] == b"x+ late\n"
    assert (reader.line, reader.command) == (7, b"late")


@pytest.mark.parametrize(("words", "shell"), [
    (["/bin/sh", "-ex", "/s"], True), (["/usr/bin/bash", "/s"], True), (["/bin/sh", "-ex", "-c", "x /s"], False),
    (["/bin/sh", "-c", "/usr/bin/python3", "/s"], False), (["/usr/bin/python3", "/s"], False),
])  # fmt: skip
def test_shells_are_known(words, shell):
    assert is_shell(words) == shell
