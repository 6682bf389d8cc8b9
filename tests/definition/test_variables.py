import pytest

from sifmake.definition import read_build_arguments
from sifmake.errors import DefinitionError
from sifmake.limits import Limits
from support.definitions import HEADER, parsed


def substituted(text, defaults="A=1\nB=2\n", **arguments):
    return parsed(f"{HEADER}%arguments\n{defaults}%post\n{text}", arguments).last.text("post").removesuffix("\n")


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("{{A}}{{ \t B }}", "12"),
        ("{{{ A }}}", "{1}"),
        ("{{ A-B }} {{}} {{ A }", "{{ A-B }} {{}} {{ A }"),
        ('echo "#x {{ A }}"', 'echo "#x {{ A }}"'),
        ('echo "#!x {{ A }}"', 'echo "#!x 1"'),
        ("#{{ A }}", "#1"),
        ("# {{ UNDEFINED }}", "# {{ UNDEFINED }}"),
        ("x # {{ A }} {{ B }}", "x # {{ A }} {{ B }}"),
        ("{{ A }} # {{ B }}", "1 # {{ B }}"),
        ("# x\n{{ A }}", "# x\n1"),
        ("{{\nA }}", "1"),
    ],
)
def test_places(text, result):
    assert substituted(text) == result


def test_the_command_line_goes_before_the_section():
    assert substituted("{{ A }}{{ B }}", A="x") == "x2"
    assert parsed(HEADER, {"Z": "1"}).unused == ("Z",)


def test_a_value_is_replaced_once_and_not_further():
    assert substituted("{{ A }}", "A={{ B }}\nB={{ C }}\nC=end\n") == "{{ C }}"
    assert substituted("{{ V }}", V="<{{ B }}{{ X }}>") == "<2{{ X }}>"
    assert parsed(HEADER + "%post\n{{ A }}", {"A": "{{ B }}", "B": "b"}).unused == ()


def test_arguments_are_trimmed_and_keep_their_quotes():
    assert substituted("{{A}}|{{B}}|{{C}}", ' A  =  a b  c \nB="q"\nC=\n# D=1\n') == 'a b  c|"q"|'


def test_each_stage_has_its_own():
    text = f"{HEADER}Stage: a\n%arguments\nA=1\n{HEADER}Stage: b\n%post\n{{{{ A }}}}\n"
    hint = r"add --build-arg A=VALUE \(in images.yaml: build-args\), or a line A="
    with pytest.raises(DefinitionError, match=rf"x.def:10: %post: the variable A has no value; {hint}"):
        parsed(text)


def test_lines_are_those_of_the_file_behind_values_of_several_lines():
    with pytest.raises(DefinitionError, match=r"^x.def:7: %post: the variable B has no value"):
        parsed(f"{HEADER}%post\necho {{{{ A }}}}\nx\n\necho {{{{ B }}}}\n", {"A": "1\n2\n3"})
    post = parsed(f"{HEADER}%post\necho {{{{ A }}}}\nx\n", {"A": "1\n2\n3"}).last.sections["post"]
    assert post.text == "echo 1\n2\n3\nx\n"
    assert post.lines.of(3) == 5


def test_the_file_of_arguments(tmp_path):
    path = tmp_path / "args"
    path.write_text("# c\n\nA = 1\nB=2=3\n")
    assert read_build_arguments(["A=x", "C="], path) == {"A": "x", "B": "2=3", "C": ""}
    with pytest.raises(DefinitionError, match="the build argument 'A' is not NAME=VALUE"):
        read_build_arguments(["A"])
    path.write_text("A=1\nB\n")
    warnings = []
    assert read_build_arguments([], path, warn=warnings.append) == {"A": "1"}
    assert warnings == [f"{path}:2: 'B' is ignored: it is not NAME=VALUE"]
    with pytest.raises(DefinitionError, match="No such file"):
        read_build_arguments([], tmp_path / "none")
    with pytest.raises(DefinitionError, match=r"\(limit definition-bytes\)"):
        read_build_arguments([], path, Limits(definition_bytes=2))
