import re
import shutil
import subprocess
import time
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sifmake.definition.globbing import expand_paths
from sifmake.definition.patterns import NamePattern, PatternError, expand_braces

BASH = shutil.which("bash")


def bash(script, *words, cwd=None):
    command = [BASH, "-c", f"shopt -s extglob globstar; {script}", "bash", *words]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=True, env={"LC_ALL": "C"})
    return done.stdout.split("\0")[:-1]


BRACES = [
    "a{b,c}d", "{a,b}{c,d}", "a{b,{c,d}e}f", "{a}", "{a,b", "a,b}", "{}", "{,x}", "\\{a,b\\}", "{a\\,b,c}", "{1..3}",
    "{3..1}", "{01..3}", "{a..d}", "{1..10..4}", "{-1..1}", "{1..x}", "x{a,b}y{1..2}z", "{{a,b}", "a{b}c{d,e}",
    "ctx/{one,two}.txt", "{a,b}}", "{x{a,b}",
]  # fmt: skip


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_braces_are_bashs():
    for text in BRACES:
        wanted = bash(f"printf '%s\\0' {text}")
        words = [re.sub(r"\\(.)", r"\1", word) for word in expand_braces(text) if word]
        assert words == wanted, text


PATTERNS = [
    "*", "?", "a*", "*.txt", "[ab]", "[!ab]", "[^ab]", "[a-c]x", "[]a]", "[a", "[[:digit:]]*", "*[[:upper:]]", "\\*",
    "@(a|b)", "?(a)b", "*(ab)", "+(a|b)c", "!(a|b)", "!(*.txt)", "a!(b)c", "+(a*)", ".*", "*.*.*", "a\\?", "@(a|+(b))x",
    "[a-]", "[-a]", "[[:alpha:]-]", "[!", "a[]", "x*(y|z)?", "!(!(a))",
]  # fmt: skip
NAMES = [
    "a", "b", "ab", "abc", "x", "ax", "a.txt", "b.txt", ".hid", "1x", "X", "xX", "*", "]", "-", "[a", "aab", "abab",
    "bbx", "ac", "abcabc", "a?", "a.b.c", "xyzq", "@(a", "", "c", "aXc",
]  # fmt: skip


@pytest.mark.skipif(BASH is None, reason="needs bash")
@pytest.mark.parametrize("pattern", PATTERNS)
def test_names_are_matched_as_by_bash(pattern):
    script = 'for n in "$@"; do if [[ $n == P ]]; then printf "%s\\0" "$n"; fi; done'.replace("P", pattern)
    wanted = [name for name in bash(script, *NAMES) if name[:1] != "." or pattern[0] == "."]
    assert [name for name in NAMES if NamePattern(pattern).matches(name)] == wanted


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet="ab*?[]!-()|@+\\", max_size=30), st.text(alphabet="ab", max_size=20))
def test_any_pattern_ends(pattern, name):
    assert NamePattern(pattern).matches(name) in (True, False)


@pytest.mark.parametrize(
    "pattern",
    [
        "*a" * 2000,
        "*(a|*(a|*(a)))" * 300,
        "!(a*)" * 500,
        "+(*a)" * 500,
        "[a-z]" * 800,
        "@(" * 19,
        "[" * 4000,
        "[a" * 2000,
        "[[:x:]" * 600,
    ],
)
def test_patterns_take_no_time(pattern):
    begin = time.process_time()
    NamePattern(pattern).matches("a" * 255)
    assert time.process_time() - begin < 4


@pytest.mark.parametrize(
    "text",
    [
        "{1..99999999}",
        "{a,b}" * 20,
        "{" * 4000,
        "{" * 2000 + "}" * 2000,
        "{1..9999}" * 400,
        "{a,b}" * 800,
        "{" + "{1..9999}," * 400 + "}",
        "x" * 5000,
        "{a," * 30 + "b" + "}" * 30,
    ],
)
def test_too_much_is_an_error_or_nothing(text):
    begin = time.process_time()
    with suppress(PatternError):
        assert len(expand_braces(text)) < 10_001
    assert time.process_time() - begin < 4


class Names:
    """A folder on disk, as expand_paths sees it."""

    def __init__(self, root):
        self.root = root

    def names(self, path):
        return [item.name for item in (self.root / path).iterdir()] if (self.root / path).is_dir() else None

    def exists(self, path):
        return (self.root / path).exists() or self.is_link(path)

    def is_link(self, path):
        return (self.root / path.rstrip("/")).is_symlink()


@pytest.mark.skipif(BASH is None, reason="needs bash")
def test_paths_are_those_of_bash(tmp_path):
    for name in ("a/b/c.txt", "a/b/d.dat", "a/e.txt", "a/.h/x.txt", "z y/w.txt", "f*"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "a/link").symlink_to("b")
    (tmp_path / "a/gone").symlink_to("nothing")
    for pattern in (
        "*", "a/*", "a/*/", "*/*.txt", "a/**", "**/*.txt", "a/.*/x*", "*/b/c.txt", "a/link/*", "a/g*",
        "z\\ y/*", "f\\*", "no*", "a/{b,e}*", "./a/*", "**", "**/b", f"{tmp_path}/a/*.txt", "a/none/*",
        "{a,no}/b",
    ):  # fmt: skip
        wanted = bash(f"printf '%s\\0' {pattern}", cwd=tmp_path)
        assert sorted(expand_paths(pattern, Names(tmp_path), [].append)) == sorted(wanted), pattern


def test_groups_may_not_be_nested_without_end():
    with pytest.raises(PatternError, match="groups are nested more than 20 deep"):
        NamePattern("@(" * 30 + "a" + ")" * 30)


def test_names_are_counted_and_variables_refused(tmp_path):
    for number in range(20):
        (tmp_path / str(number)).touch()
    spent = []
    expand_paths("*", Names(tmp_path), spent.append)
    assert sum(spent) == 21
    for text in ("$HOME/x", "a${b}", "`id`", "$(id)"):
        with pytest.raises(PatternError, match="variables and commands"):
            expand_paths(text, Names(tmp_path), spent.append)
    assert expand_paths("a$ \\$HOME", Names(tmp_path), spent.append) == ["a$ $HOME"]
