import subprocess
import time
from contextlib import suppress

import pytest

from sifmake.definition.problems import DefinitionPlace
from sifmake.definition.steps import post_steps
from sifmake.errors import DefinitionError
from sifmake.limits import Limits
from support.definitions import stage

STEP = "# sifmake: step\n"
PLACE = DefinitionPlace("x.def")


def steps(post, arguments=""):
    return post_steps(stage(f"%post{arguments}\n{post}"), PLACE)


def test_without_markers_it_is_one_step():
    (step,) = steps("if x; then\n  f() { y; }\n")
    assert (step.text, step.expires, step.lines.of(1)) == ("if x; then\n  f() { y; }\n", None, 5)
    assert post_steps(stage("%labels\na b\n"), PLACE) == ()


def test_markers_cut_and_lines_stay_those_of_the_file():
    cut = steps(f"a\n# sifmake: expires 7d\nb\n{STEP}# c\n\n#sifmake:step\nd\n{STEP}e\n# sifmake: expires 30m\n")
    assert [(step.text, step.expires, step.lines.of(0)) for step in cut] == [
        ("a\nb\n", 604800, 4),
        ("d\n", None, 11),
        ("e\n", 1800, 13),
    ]
    assert [cut[0].lines.of(index) for index in range(2)] == [4, 6]


ACCEPTED = [
    "cat <<X\nif (\nX\n",
    "cat <<-'X' | sh\n\tif (\n\tX\n",
    "cat <<A <<\\B\na\nA\nb\nB\n",
    "if a; then\n b\nelif c\nthen d\nelse e; fi\n",
    "for x in a b; do\n y\ndone\n",
    "for x\ndo y; done; for x in a; do case $x in (a) b;; c|d) ;; *) e\nesac; done\n",
    "for x do y; done\n",
    "for x in a do\ndo y; done\n",
    "for x in $(a\n b); do y; done\n",
    "while read x; do :; done < /f\n",
    "case x in\n# c\na) b ;;\nesac\n",
    "{ a; b\n}\n",
    "(a\n b)\n",
    'x="a\nb"\n',
    "x='\n#'\n",
    'x="$(cat <<X\n)\nX\n)"\n',
    "x=$(case a in a) b;; esac)\n",
    "x=${y:-'}'} z=${#y} w=${y#\\}}\n",
    "echo a#b # ' comment\n",
    "a && \\\n b\n",
    "a |\n b\n",
    "echo `echo \\`x\\``\n",
    "echo $(( (1 + 2) << 3 )) >&2 2>/dev/null\n",
    "[ a = b ] || c\n",
    "set -eu -o pipefail\nset +x\n",
    "command -v x\n",
    "echo if fi done { } [[ case\n",
    "echo \\\\\n",
    "(trap x EXIT; exec y)\n",
    "A=1 B=2\nexport C=3\ncd /x\numask 022\n. /etc/os-release\n",
    "echo 'exec' \"trap\" \\\n  alias\n",
]
"""Scripts that end at the top level, and keep nothing that is lost."""


@pytest.mark.parametrize("script", ACCEPTED)
def test_a_marker_between_commands_counts(script):
    before, after = steps(f"{script}{STEP}{script}")
    assert before.text == after.text == script


def test_both_parts_are_whole_scripts_for_a_shell():
    for script in ACCEPTED:
        done = subprocess.run(["/bin/sh", "-n"], input=script, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), script


@pytest.mark.parametrize(
    "script",
    [
        f"cat <<X\n{STEP}X\n",
        f"if a; then\n{STEP}fi\n",
        f"for x in a; do\n{STEP}done\n",
        f"case x in\n{STEP}a) b;;\nesac\n",
        f"case x in a)\n{STEP}esac\n",
        f"(\n{STEP})\n",
        f"{{ a\n{STEP}}}\n",
        f"x='\n{STEP}'\n",
        f'x="\n{STEP}"\n',
        f"x=$(\n{STEP})\n",
        f"x=`\n{STEP}`\n",
        f"x=${{y:-\n{STEP}}}\n",
        f"a \\\n{STEP}b\n",
        f"a &&\n{STEP}b\n",
        f"a |\n{STEP}b\n",
        f"a\n  {STEP}b\n",
        f"a\n\t{STEP}b\n",
        f"x=(\n{STEP})\n",
        f"while a\n{STEP}do b; done\n",
        f"echo $((\n{STEP}1))\n",
        f"cat <<X; if a; then\nfi\nX\n{STEP}fi\n",
        f"x=\"${{y:-'}}\"\n{STEP}'\n",
        f"x=$'\\'\n{STEP}'\n",
    ],
)
def test_a_marker_elsewhere_is_an_error_with_its_line(script):
    with pytest.raises(DefinitionError) as error:
        steps(script)
    assert str(error.value).startswith("x.def:")
    assert ": %post: " in str(error.value)


@pytest.mark.parametrize(
    ("command", "what"),
    [
        ("f() { a; }", "a function"),
        ("f ()\n{ a; }", "a function"),
        ("if a; then f() { b; }; fi", "a function"),
        ("function f { a; }", "a function"),
        ("alias a=b", "an alias"),
        ("\\trap x EXIT", "a trap"),
        ("command trap - EXIT", "a trap"),
        ("A=1 trap x EXIT", "a trap"),
        ("exec >/log 2>&1", "a redirection of the shell"),
        ("exec 3<x", "a redirection of the shell"),
        ("a &", "a job"),
        ("(a & )", "a job"),
        ("a & b", "a job"),
        ("set -- a b", "the script's arguments"),
        ("set a", "the script's arguments"),
        ("ulimit -n 10", "a limit"),
        ("{ trap x EXIT; }", "a trap"),
    ],
)
def test_what_would_be_lost_is_an_error_that_names_its_line(command, what):
    with pytest.raises(DefinitionError) as error:
        steps(f"a\n{command}\nb\n{STEP}c\n")
    assert str(error.value).startswith(f"x.def:5: %post: {what}")
    assert len(steps(f"a\n{STEP}{command}\n")) == 2
    assert len(steps(f"{command}\n# sifmake: expires 1h\n")) == 1


@pytest.mark.parametrize("arguments", [" -c python3", " -c /usr/bin/env perl -w"])
def test_other_programs_refuse_markers(arguments):
    with pytest.raises(DefinitionError, match=r"x.def:5: %post: (python3|perl) runs %post, which cannot be cut"):
        steps(f"a\n{STEP}b\n", arguments)
    assert len(steps("a\n", arguments)) == 1


@pytest.mark.parametrize("arguments", [" -u", " -c /bin/bash -ex", " -c /usr/bin/env bash", " -c /bin/busybox ash -f"])
def test_shells_take_markers(arguments):
    assert len(steps(f"a\n{STEP}b\n", arguments)) == 2


def test_bash_reads_its_own_redirections():
    assert len(steps(f"a &>/x\n{STEP}b\n", " -c bash")) == 2
    with pytest.raises(DefinitionError, match="a job cannot be carried over"):
        steps(f"a &>/x\n{STEP}b\n")


OF_BASH = [
    "[[ a < b && ( c || d ) ]] || e\n",
    "[[ a\n]]\n",
    "(( a < b ))\n",
    "for (( i = 0; i < 3; i++ )); do a; done\n",
    "diff <(a | b) <(c)\n",
    "a |& b\n",
    "case x in +(a|b)) c ;;& d) e ;& *) ;; esac\n",
    "x=(a 'b c'\n d)\nx+=(e)\nx[1]=f\n",
    "select x in a; do b; done\n",
    "time a\n! b\n",
    "cat <<< 'a\nb'\n",
    "echo $'a' $\"b\"\n",
    "echo @(a|b) ?(c)\n",
]


@pytest.mark.parametrize("script", OF_BASH)
def test_scripts_of_bash_are_followed(script):
    before, after = steps(f"{script}{STEP}{script}", " -c /bin/bash -ex")
    assert before.text == after.text == script


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("if a\n", "has no end"),
        ("a )\n", "a closing parenthesis has no opening one"),
        ("((a\n))\n", r"\(\( and \)\) are in different lines"),
        ("case a b\nesac\n", "case without in"),
        ("[[ a\n", r"\[\[ has no \]\]"),
        ("a b (\n", "a parenthesis inside a command"),
        ("cat <<X\n", "the here-document has no line 'X'"),
        ("a >\n", "a word is missing"),
        ("a '\n", "a ' has no end"),
        ('a "\n', 'a " has no end'),
        ("a `\n", "a ` has no end"),
        ("a ${b\n", "has no end"),
        ("a $((b\n", "a parenthesis without an end"),
        ("a $'\\''\n", "shells do not agree"),
        ("( " * 70, "nested more than 60 deep"),
        ("a " + "${x:-" * 70, "nested more than 60 deep"),
        ("x=(a # '\n)\n", "or with a comment inside"),
    ],
)
def test_what_is_not_understood_is_an_error_that_says_what(script, what):
    with pytest.raises(DefinitionError, match=f"cannot tell where the steps of %post begin: .*{what}"):
        steps(f"{STEP}{script}", " -c bash")


@pytest.mark.parametrize("text", ["stpe", "step 2", "expires", "expires 0d", "expires 7", "expires 1y", ""])
def test_unknown_markers_are_errors(text):
    with pytest.raises(DefinitionError, match=r"x.def:4: %post: unknown marker .*; write"):
        steps(f"# sifmake: {text}\n")


def test_blanks_in_a_marker_take_linear_time():
    begin = time.process_time()
    with pytest.raises(DefinitionError, match=r"unknown marker 'a  "):
        steps(f"# sifmake: a{' ' * 100_000}b\n")
    assert time.process_time() - begin < 2


def test_a_step_expires_once():
    with pytest.raises(DefinitionError, match=r"x.def:6: %post: the step has two expiry times"):
        steps("# sifmake: expires 1d\na\n# sifmake: expires 2d\n")


def test_apps_are_installed_at_the_end():
    one = stage(f"%appinstall a\n x\n%post\nb\n{STEP}c\n%apprun n'\n y\n")
    first, last = post_steps(one, PLACE)
    assert first.text == "{ . /.singularity.d/env/94-appsbase.sh; } 2>/dev/null; b\n"
    assert first.lines.of(0) == 6
    assert last.text == (
        "c\n\ncd /\n. /scif/apps/a/scif/env/01-base.sh\ncd /scif/apps/a\n x\n\ncd /\n"
        "\ncd /\n. '/scif/apps/n'\"'\"'/scif/env/01-base.sh'\ncd '/scif/apps/n'\"'\"''\n\ncd /\n"
    )
    assert last.lines.of(5) == 4
    assert post_steps(stage("%apprun a\n x\n"), PLACE) == ()
    with pytest.raises(DefinitionError, match=r"x.def:4: %appinstall: markers are allowed only in %post"):
        post_steps(stage(f"%appinstall a\n{STEP}"), PLACE)


@pytest.mark.parametrize(
    "unit",
    [
        "(",
        "$(",
        "${",
        "`",
        '"',
        "'",
        "<<X\n",
        "case x in ",
        "if ",
        "a&",
        "\\\n",
        "a ",
        "((",
        "x=(",
        '"${x',
        ";",
        "$",
        "# sifmake: step\n",
        "a\n# sifmake: step\n",
    ],
)
def test_hostile_scripts_take_linear_time(unit):
    text = f"{STEP}{unit * ((1 << 15) // len(unit))}\n{STEP}"
    begin = time.process_time()
    with suppress(DefinitionError):
        steps(text)
    assert time.process_time() - begin < 4


def test_the_number_of_steps_is_limited():
    one = stage("%post\n" + "true\n# sifmake: step\n" * 3)
    assert len(post_steps(one, PLACE, Limits(definition_steps=3))) == 3
    with pytest.raises(DefinitionError, match=r"x\.def:8: %post has more than 2 steps \(limit definition-steps\)"):
        post_steps(one, PLACE, Limits(definition_steps=2))
