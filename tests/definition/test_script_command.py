import pytest

from sifmake.definition.problems import DefinitionPlace
from sifmake.definition.script_command import interpreter_words, script_command
from support.definitions import stage


@pytest.mark.parametrize(
    ("arguments", "command", "interpreter"),
    [
        ("", ("/bin/sh", "-ex", "/s"), ()),
        (" -u  -f # c", ("/bin/sh", "-ex", "-u", "-f", "/s"), ()),
        (" -c /bin/bash -x # c", ("/bin/sh", "-ex", "-c", "/bin/bash -x /s"), ("/bin/bash", "-x")),
        (" -u -c python3", ("/bin/sh", "-ex", "-u", "-c", "python3 /s"), ("python3",)),
    ],
)
def test_arguments_go_to_the_shell(arguments, command, interpreter):
    section = stage(f"%post{arguments}\ntrue\n").sections["post"]
    assert script_command(section, "/s", DefinitionPlace("x")) == command
    assert interpreter_words(section) == interpreter
