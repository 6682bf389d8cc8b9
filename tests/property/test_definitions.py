"""Whatever a definition file holds: its text and lines come back, and its steps are whole scripts."""

import re
import subprocess

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from sifmake.definition import read_definition
from sifmake.definition.problems import DefinitionPlace
from sifmake.definition.steps import post_steps
from sifmake.errors import DefinitionError

HEADER = "Bootstrap: oci\nFrom: base\n"
MARKER = "# sifmake: step"
LINES = st.text(st.characters(exclude_characters="\n\r\0", exclude_categories=["Cs"]), max_size=30).filter(
    lambda line: not re.match(r"\s*%|bootstrap:", line, re.IGNORECASE) and "{{" not in line
)
SECTIONS = st.lists(
    st.tuples(st.sampled_from(["post", "POST", "help", "runscript", "labels"]), st.lists(LINES, max_size=5)), max_size=6
)


@settings(max_examples=100, deadline=None)
@given(SECTIONS, st.booleans())
def test_texts_and_lines_come_back(sections, crlf):
    text = HEADER + "".join(f"%{name}\n" + "".join(f"{line}\n" for line in lines) for name, lines in sections)
    data = text.replace("\n", "\r\n" if crlf else "\n").encode()
    definition = read_definition(data, "x.def")
    assert definition.text == data
    for name in ("post", "help", "runscript", "labels"):
        wanted = [line for other, lines in sections if other.lower() == name for line in lines]
        assert definition.last.text(name) == "".join(f"{line}\n" for line in wanted)
        if wanted:
            section = definition.last.sections[name]
            in_file = text.split("\n")
            assert [in_file[section.lines.of(index) - 1] for index in range(len(wanted))] == wanted


@settings(max_examples=100, deadline=None)
@given(LINES.filter(lambda line: "#" not in line), st.text("ab\n", max_size=6))
def test_values_come_in_and_lines_stay(line, value):
    text = f"{HEADER}%post\n{line}{{{{ A }}}}\n{line}\n"
    section = read_definition(text.encode(), "x.def", {"A": value}).last.sections["post"]
    assert section.text == f"{line}{value}\n{line}\n"
    assert section.lines.of(value.count("\n") + 1) == 5


def blocks(inner):
    """Return scripts with scripts in them."""
    inner = inner.map("z\n{}".format)
    # Texts in quotes and here-documents: what would end them is not in them.
    quoted = inner.map(lambda text: re.sub(r"['\"\\\\`$]|<<|^[XY]$", "", text, flags=re.MULTILINE))
    return st.one_of(
        inner.map("if a; then\n{}fi\n".format),
        inner.map("while a\ndo\n{}done\n".format),
        inner.map("for x in a b; do\n{}done >/x\n".format),
        inner.map("(\n{})\n".format),
        inner.map("{{\n{}}} | cat\n".format),
        inner.map("case x in\na|b)\n{};;\n(*) ;;\nesac\n".format),
        inner.map('x="$(\n{})"\n'.format),
        quoted.map("cat <<X\n{}X\n".format),
        quoted.map("cat <<'Y' | sort\n{}Y\n".format),
        quoted.map("echo '\n{}'\n".format),
        quoted.map('echo "\n{}"\n'.format),
    )


SIMPLE = st.sampled_from(
    [
        "a\n",
        "a b # c '\n",
        "a \\\n b\n",
        "a &&\nb\n",
        "x=1 a 2>/x\n",
        "\n",
        "# c (\n",
        "a; b\n",
        "echo ${x:-y}\n",
        "echo a#b\\'\n",
    ]
)
SCRIPTS = st.recursive(
    SIMPLE, lambda inner: st.one_of(blocks(inner), st.lists(inner, min_size=1, max_size=3).map("".join)), max_leaves=6
)


def is_script(text):
    return subprocess.run(["/bin/sh", "-n"], input=text.encode(), capture_output=True, check=False).returncode == 0


@settings(max_examples=60, deadline=None)
@given(SCRIPTS, SCRIPTS, st.integers(0, 30))
def test_steps_are_whole_scripts(first, second, at):
    lines = (first + second).split("\n")[:-1]
    lines.insert(at % (len(lines) + 1), MARKER)
    script = "".join(f"{line}\n" for line in lines)
    assume(not re.search(r"^\s*%|^bootstrap:", script, re.MULTILINE | re.IGNORECASE))
    stage = read_definition(f"{HEADER}%post\n{script}".encode(), "x.def").last
    try:
        steps = post_steps(stage, DefinitionPlace("x.def"))
    except DefinitionError:
        return
    assert is_script(script)
    for step in steps:
        assert is_script(step.text)


@settings(max_examples=60, deadline=None)
@given(SCRIPTS, SCRIPTS)
def test_a_marker_between_two_scripts_always_counts(first, second):
    script = f"a\n{first}{MARKER}\n{second}b\n"
    steps = post_steps(read_definition(f"{HEADER}%post\n{script}".encode(), "x.def").last, DefinitionPlace("x.def"))
    assert "".join(step.text for step in steps) == script.replace(f"{MARKER}\n", "")
