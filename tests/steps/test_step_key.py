"""The key of a step: every input is in it, and the same inputs give the same key for ever."""

from dataclasses import fields, replace

import pytest

from sifmake.steps.step_key import StepInputs, digest_of

INPUTS = StepInputs(
    below=("sha256:1", "sha256:2"),
    text="echo\n",
    words=("/bin/sh", "-ex", "/.post.script"),
    environment=(("PATH", "/bin"),),
    reads_scripts=False,
    architecture="amd64",
    network="host",
    binds=(),
    secrets=(),
    epoch=1,
    clean=(),
    snapshot="",
    carries=False,
    privileged=False,
    semantics=1,
)
OTHER = {
    "below": ("sha256:2", "sha256:1"),
    "text": "echo \n",
    "words": ("/bin/sh",),
    "environment": (("PATH", "/sbin"),),
    "binds": ("/data",),
    "secrets": ("token",),
    "clean": ("apt",),
}


def test_the_key_of_a_step_stays_what_it_is():
    assert INPUTS.key == "77d9be0b294ccc4d003e3c3c42e9900de2b8a32a80194d58dff91d915af0e1dd"


@pytest.mark.parametrize("name", [field.name for field in fields(StepInputs)])
def test_each_input_gives_another_key(name):
    value = getattr(INPUTS, name)
    default = {bool: not value, int: 7, str: "x"}.get(type(value))
    assert replace(INPUTS, **{name: OTHER.get(name, default)}).key != INPUTS.key


def test_what_is_written_does_not_depend_on_the_order_of_names():
    assert digest_of({"b": 1, "a": "ü\udcff"}) == digest_of({"a": "ü\udcff", "b": 1})
