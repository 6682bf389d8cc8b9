import time

import pytest

import sifmake
from sifmake.definition.lint import lint_definition
from sifmake.errors import DefinitionError
from sifmake.limits import Limits
from support.corpus import needs_corpus
from support.definitions import BAD, DEFINITIONS, GOOD, HEADER, good

PINNED = f"Bootstrap: docker\nFrom: alpine:3@sha256:{'0' * 64}\n"


def found(text, **arguments):
    return [
        (item.line, item.section, item.rule, item.severity) for item in lint_definition(text.encode(), "x", arguments)
    ]


def test_a_clean_file_has_no_findings():
    text = (
        f"{PINNED}\n%arguments\nVERSION=1\n%files\n a /b\n%post\n# /tmp is not used\napt-get install -y x\n"
        "rm -rf /var/lib/apt/lists/* # and /tmp\n%labels\na b\n%runscript\n#!/bin/sh\nexec /opt/tmp/x\n"
    )
    assert found(text) == []


@pytest.mark.parametrize(
    ("text", "line", "section", "rule"),
    [
        ("Bootstrap: docker\nFrom: alpine:3\n", 2, "", "unpinned-base"),
        ("Bootstrap: oras\nFrom: h/x\n", 2, "", "unpinned-base"),
        ("Bootstrap: https\nFrom: //h/x.sif\n", 2, "", "unpinned-base"),
        (f"{PINNED}%arguments\nA=1\n%post\ncurl 'h/#x?v={{{{ A }}}}' # {{{{ A }}}}\n", 6, "", "variable-after-hash"),
        (f"{PINNED}Namespace: a#b\n", 3, "", "header-comment"),
        (f"{PINNED}%arguments\nDB_PASSWORD=x\n", 4, "arguments", "secret-in-argument"),
        (f"{PINNED}%arguments\ndbPassword=x\n", 4, "arguments", "secret-in-argument"),
        (f"{PINNED}%post\ncurl https://me:pw@host/\n", 4, "", "secret-in-text"),
        (f"{PINNED}%arguments\nnothing\n", 4, "arguments", "argument-not-used"),
        (f"{PINNED}%post\necho {{{{ GITHUB_TOKEN }}}}\n", 4, "post", "secret-in-argument"),
        (f"{PINNED}%post\necho {{{{ VERSION }}}}\n", 4, "post", "argument-without-value"),
        (f"{PINNED}%post\ncd /tmp\n", 4, "post", "host-tmp"),
        (f"{PINNED}%post\nrm -rf /var/tmp/*\n", 4, "post", "host-tmp"),
        (f"{PINNED}%files\n a /tmp/x\n", 4, "files", "host-tmp"),
        (f"{PINNED}%files\n a /x # why\n", 4, "files", "files-third-word"),
        (f"{PINNED}%files  # c\n a /x\n", 3, "files", "blank-after-files"),
        (f"{PINNED}Stage: a\n{PINNED}%files form a\n a /x\n", 6, "files", "files-from"),
        (f"{PINNED}%post\napt-get update && apt-get -y install x\n", 4, "post", "apt-lists"),
        (f"{PINNED}%post\nDEBIAN_FRONTEND=x apt install -y x\n", 4, "post", "apt-lists"),
        (f"{PINNED}%labels\na b\na c\n", 5, "labels", "label-lost"),
        (f"{PINNED}%labels\norg.label-schema.build-arch x\n", 4, "labels", "label-lost"),
        (f"{PINNED}%labels\na\tb\n", 4, "labels", "tab-in-label"),
        (f"{PINNED}%labels\na=b\n", 4, "labels", "label-without-value"),
        (f"{PINNED}Stage: a\n%labels\na b\n{PINNED}", 4, "labels", "label-lost"),
        (f"{PINNED}%runscript\n\n#!/bin/bash\n", 4, "runscript", "late-shebang"),
        (f"{PINNED}%test -e -u\ntrue\n", 3, "test", "section-arguments"),
    ],
)
def test_warnings(text, line, section, rule):
    assert found(text) == [(line, section, rule, "warning")]


@pytest.mark.parametrize(
    ("text", "findings"),
    [
        (
            f"{PINNED}%pots\n  %post\n%post\t-x\n",
            [(3, "unknown-section"), (4, "indented-section"), (5, "tab-after-section")],
        ),
        (f"{PINNED}Foo: x\n", [(3, "invalid")]),
        (f"{PINNED}%post\nf() {{ x; }}\n# sifmake: step\n", [(4, "invalid")]),
        ("", [(0, "invalid")]),
    ],
)
def test_errors(text, findings):
    assert found(text) == [(line, "post" if "step" in text else "", rule, "error") for line, rule in findings]


def test_a_default_that_is_a_token_is_found_by_its_value():
    text = f"{PINNED}%arguments\nA=ghp_{'a' * 30}\n"
    assert [rule for _, _, rule, _ in found(text)] == ["secret-in-text", "secret-in-argument"]


def test_values_of_the_command_line_are_checked():
    text = f"{PINNED}%post\necho {{{{ API_KEY }}}} {{{{ TOKENIZER }}}} {{{{ A }}}}\n"
    values = {"API_KEY": "x", "TOKENIZER": "y", "A": "glpat-0123456789"}
    assert found(text, **values) == [(4, "", "secret-in-argument", "warning")] * 2
    assert found(text, **values, NONE="x")[0] == (0, "", "unused-build-arg", "error")


def test_a_value_on_the_command_line_is_one():
    assert found(f"{PINNED}%post\necho {{{{ VERSION }}}}\n", VERSION="1") == []


@needs_corpus
@pytest.mark.parametrize("name", GOOD)
def test_files_that_build_have_no_errors(name):
    assert [item for item in sifmake.lint(good(name)) if item.severity == "error"] == []


@needs_corpus
def test_bad_files_have_errors_where_reading_fails():
    errors = {
        name for name in BAD if any(item.severity == "error" for item in sifmake.lint(DEFINITIONS / f"bad/{name}.def"))
    }
    assert errors >= {"agent", "dupstage", "filesarg", "indent", "section", "tabname"}
    assert not errors & {"uppercase", "emptyarg", "postfails"}


def test_a_file_that_cannot_be_read_is_an_error(tmp_path):
    with pytest.raises(DefinitionError, match="No such file"):
        sifmake.lint(tmp_path / "none.def")


@pytest.mark.parametrize("unit", ["%x\n", "{{ A }}\n", "a /tmp\n", "a\tb\n", "apt ", "/tmp", "a b c\n"])
@pytest.mark.parametrize("section", ["%post\n", "%labels\n", "%files\n"])
def test_hostile_text_takes_linear_time(section, unit):
    begin = time.process_time()
    lint_definition(f"{HEADER}{section}{unit * ((1 << 16) // len(unit))}".encode(), "x", None, Limits())
    assert time.process_time() - begin < 4
