"""Shell words without a shell, against dash and busybox."""

from __future__ import annotations

import shutil
import subprocess
import time

import pytest

from sifmake.runtime.environment import Scripts
from sifmake.runtime.shell_subset import NeedsShell, UnbalancedError, expand_quoted, source, split_words

ENV = {"HOME": "/root", "X": "a b", "EMPTY": "", "Q": 'say "hi" $5 `x` \\'}
SHELLS = [words for words in (["dash"], ["busybox", "sh"], ["bash"]) if shutil.which(words[0])]

WORDS = [
    '"plain" "two words"',
    '"$HOME" "${X:-def}" "${NONE:-def}" "${EMPTY:-def}" "${EMPTY-def}" "${NONE-}"',
    '"${X:+yes}" "${EMPTY:+yes}" "${EMPTY+yes}" "${NONE+yes}"',
    '"$(echo sub)" "`echo back quotes`" "$(echo $HOME)"',
    r'"back\\slash" "b\s" "\$HOME" "\`x\`" "\"q\"" a\ b "\\"',
    '"tab\there\nnext" "" "a;b" "c&d|e>f" "#h" "*" "~" "?"',
    "'single $HOME' 'it'\"'\"'s' a'b'c",
    '"$" "$ x" "$/"',
    '"${NONE:-"v \\"q\\" }"}" "$Q"',
    "word # comment",
]


@pytest.mark.parametrize("text", WORDS)
@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_words_are_as_a_shell_splits_them(text, shell):
    script = f'set -- {text}\nfor w in "$@"; do printf \'%s\\0\' "$w"; done'
    output = subprocess.run([*shell, "-c", script], env=ENV, capture_output=True, check=True).stdout.decode()
    assert split_words(text, ENV) == output.split("\0")[:-1]


@pytest.mark.parametrize(
    "text",
    [
        "a; b",
        "a | b",
        "a &",
        "$(date)",
        "`date`",
        "$X",
        "$1",
        "${X%b}",
        "${#X}",
        "*",
        "~/x",
        "a > b",
        "(a)",
        "$((1+1))",
        '"$(echo -n x)"',
    ],
)
def test_more_than_words_needs_a_shell(text):
    with pytest.raises(NeedsShell):
        split_words(text, ENV)


@pytest.mark.parametrize("text", ['"dq"dq" "sq\'sq"', "'open", '"open', '"`echo"'])
def test_unbalanced_quotes_are_an_error(text):
    with pytest.raises(UnbalancedError):
        split_words(text, ENV)


def test_nesting_ends():
    text = "$(echo " * 100 + "x" + ")" * 100
    with pytest.raises((NeedsShell, UnbalancedError)):
        split_words(f'"{text}"', ENV)


@pytest.mark.parametrize(
    ("text", "want"), [('say "hi" $HOME', 'say "hi" /root'), ("a\\$b", "a$b"), ("", ""), ("it's", "it's")]
)
def test_quoted(text, want):
    assert expand_quoted(text, ENV) == want


SCRIPTS = [
    'export A="x y" B=z\nC=1; export C\n# comment\nexport D="${D:-$A}" E',
    "export A='1'\nunset A\nexport PATH=/opt/bin:$PATH",
    'export A=a\\\nb\n:\nexport X="${X:-"image"}"',
    "A=1\nexport A\nA=2",
    "export A=b=*c B=x=y=[z]",
]


@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("shell", SHELLS, ids=lambda words: words[0])
def test_scripts_set_what_a_shell_sets(script, shell):
    start = {"PATH": "/usr/bin:/bin", "X": "host"}
    text = f"{script}\nexec env -0"
    output = subprocess.run([*shell, "-c", text], env=start, capture_output=True, check=True).stdout.decode()
    want = dict(item.split("=", 1) for item in output.split("\0") if item)
    variables, exported = dict(start), set(start)
    assert source(script, variables, exported, frozenset()) == []
    got = {name: value for name, value in variables.items() if name in exported}
    assert got == {name: value for name, value in want.items() if name not in ("PWD", "OLDPWD", "SHLVL", "_")}


@pytest.mark.parametrize(
    "script", ["if true; then A=1; fi", "echo x", "A=1 cmd", ". other", "export A=$(date)", "f() { :; }", "export -f x"]
)
def test_other_scripts_need_a_shell(script):
    with pytest.raises(NeedsShell):
        source(script, {}, set(), frozenset())


@pytest.mark.parametrize(
    "text",
    [
        '"' + "${NONE:-" * 100_000 + "x" + "}" * 100_000 + '"',
        '"' + '${NONE:-"' * 30_000 + "x" + '"}' * 30_000 + '"',
        '"' + "`echo ${NONE:-" * 21 + '"',
        '"' + "${X+$(echo " * 21 + "x" + ")}" * 21 + '"',
    ],
    ids=["braces", "quotes in braces", "back quotes", "both"],
)
def test_nesting_of_every_kind_ends(text):
    with pytest.raises((NeedsShell, UnbalancedError)):
        split_words(text, ENV)


def test_values_that_grow_need_a_shell():
    doubling = "A=xxxxxxxxxx\n" + "A=$A$A\n" * 60
    braces = "A=xxxxxxxxxx\n" + 'A="${A:-}${A+$A}${NONE-$A}"\n' * 60
    for script in (doubling, braces, "A=" + "x" * 1000 + "\n" + "B=${A}\n" * 100_000):
        variables = {}
        with pytest.raises(NeedsShell):
            source(script, variables, set(), frozenset())
        assert sum(map(len, variables.values())) < 4 << 20


def test_equal_signs_cost_no_more_than_other_characters():
    start = time.process_time()
    with pytest.raises(NeedsShell):
        source("a-" + "=b" * 100_000, {}, set(), frozenset())
    assert time.process_time() - start < 2


class Files:
    """A view of an image that has environment scripts alone."""

    def __init__(self, scripts):
        self.scripts = scripts

    def read(self, path, limit):
        return self.scripts[path.rpartition("/")[2]][:limit]


def test_long_scripts_of_an_image_are_left_to_its_shell():
    long = "A=" + "x" * 100_000
    scripts = Scripts(Files({"1.sh": long, "2.sh": long, "3.sh": long, "4.sh": "B=1\n", "5.sh": "x" * (1 << 21)}))
    variables = {}
    for name in ("1.sh", "2.sh", "4.sh"):
        assert scripts.run(name, variables, set()) == []
    for name in ("3.sh", "5.sh"):
        with pytest.raises(NeedsShell):
            scripts.run(name, variables, set())
    assert variables == {"A": "x" * 100_000, "B": "1"}


def test_values_may_grow_in_all_scripts_together_as_in_one():
    scripts = Scripts(Files({"1.sh": "A=" + "x" * 100_000 + "\n", "2.sh": "B=$A$A$A\n"}))
    variables = {}
    for name in ("1.sh", "2.sh", "2.sh", "2.sh"):
        scripts.run(name, variables, set())
    with pytest.raises(NeedsShell):
        scripts.run("2.sh", variables, set())
