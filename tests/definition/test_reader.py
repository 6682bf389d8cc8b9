import time
from contextlib import suppress

import pytest

from sifmake.definition import load_definition, read_definition
from sifmake.definition.label_lines import parse_labels
from sifmake.errors import DefinitionError
from sifmake.limits import Limits
from support.corpus import needs_corpus
from support.definitions import BAD, DEFINITIONS, GOOD, HEADER, good, parsed, recorded, stage


@needs_corpus
@pytest.mark.parametrize("name", GOOD)
def test_the_recorded_text_is_apptainers(name):
    definition = load_definition(good(name))
    assert definition.text.decode() == recorded(name)["objects"][0]["text"]
    assert definition.unused == ()


BUILD_TIME = {"dangling", "filemissing", "globmissing", "nolayout", "postfails", "setupfails", "testfails"}
"""These are well-formed: what they ask for fails when they are built."""
WARNED = {"emptyarg": "%arguments: 'Y' is ignored: it is not NAME=VALUE"}
REFUSED = {
    "agent": ":1: unknown agent 'nope'",
    "agentcase": ":1: unknown agent 'OCI': case matters; write Bootstrap: oci",
    "appnoname": ":3: %apprun needs the name of an app",
    "comment": ": the file has no stage",
    "contcrash": ":2: the value of From: ends with",
    "dupstage": ":9: two stages have the name 'a'",
    "empty": ": the file has no stage",
    "filesarg": ":3: %files: 'foo' is not a valid argument of %files",
    "header": ":3: unknown header key 'foo'",
    "indent": ":4: the section '%runscript' is indented",
    "nobootstrap": ":1: the first line of the header is From:, not Bootstrap:",
    "nocolon": ":1: the header line 'Bootstrap oci' has no colon",
    "noheader": ":1: %post: this section comes before the header",
    "nostage": ":3: %files: there is no stage 'nostage' above this one",
    "percent-in-post": ":5: the section '%files' is indented",
    "postargs": ":3: %post: nothing follows -c",
    "section": ":3: unknown section %unknown",
    "tabname": r":3: unknown section %post\t-x; write a space",
    "undef": ":4: %post: the variable UNDEF has no value",
}


@needs_corpus
@pytest.mark.parametrize("name", BAD)
def test_what_apptainer_refuses_is_refused_with_file_line_and_cause(name):
    path = DEFINITIONS / f"bad/{name}.def"
    if name in REFUSED:
        with pytest.raises(DefinitionError) as error:
            load_definition(path)
        assert str(error.value).startswith(f"{path}{REFUSED[name]}")
        assert error.value.exit_code == 2
    else:
        assert name in {*BUILD_TIME, *WARNED, "uppercase"}
        assert [text for text in load_definition(path).warnings if not text.endswith(WARNED.get(name, "?"))] == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Bootstrap: debootstrap\nFrom: x\n", "x.def:1: the agent 'debootstrap' is not supported; write "),
        ("Bootstrap: dnf\n", "dnf --installroot=FOLDER"),
        ("Bootstrap: dockerfile\nFrom: .\n", "docker build -t NAME ."),
        ("Bootstrap: library\nFrom: alpine\n", "Bootstrap: localimage"),
        ("Bootstrap: docker\nFrom: docker://x\n", "x.def:2: an image reference must not have a scheme"),
        ("Bootstrap: docker\nFrom: Alpine\n", "x.def:2: image names are lower-case; try alpine"),
        ("Bootstrap: oras\n# c\nFrom: //h/x\n", "x.def:3: '//h/x' is not"),
        ("Bootstrap:\nFrom: x\n", "x.def:1: Bootstrap: has no value"),
        ("Bootstrap: docker\n%post\n", "x.def:1: Bootstrap: docker needs From:"),
        (f"{HEADER}Form: y\n", "x.def:3: unknown header key 'form'; write From:"),
        ("Bootstrap: oci\\\n# c\nFrom: x\n", "x.def:1: the value of Bootstrap: ends with"),
        (f"{HEADER}%pots\n", "x.def:3: unknown section %pots; write %post"),
        (f"{HEADER}%\n", "x.def:3: unknown section %"),
        (f"{HEADER}\t%post\n", "x.def:3: the section '%post' is indented"),
        (f"{HEADER}%AppRun x\n", "x.def:3: unknown section %AppRun; write %apprun x"),
        (f"{HEADER}%apprun \n y\n", "x.def:3: %apprun needs the name of an app"),
        (f"{HEADER}%apprun ../x\n y\n", "x.def:3: %apprun: the app's name '../x' cannot be a folder"),
        (f"{HEADER}%files from a b\n x y\n", "x.def:3: %files: 'from a b' is not a valid argument of %files"),
        (f"{HEADER}%files\n 'a b' /x\n", "x.def:4: %files: single quotes"),
        (f'{HEADER}%files\n\n "a b"c /x\n', "x.def:5: %files: a character follows the closing quote"),
        (f'{HEADER}%files\n "" /x\n', "x.def:4: %files: the source is empty"),
        (f"{HEADER}Stage: a\n%files from a\n x\n", "x.def:4: %files: there is no stage 'a' above this one"),
        (f"{HEADER}Stage: a\n%files from b\n x\n{HEADER}Stage: b\n", "there is no stage 'b' above"),
        (f"{HEADER}%setup -c # bash\n x\n", "x.def:3: %setup: nothing follows -c"),
        ("\ufeffBootstrap: oci\nFrom: x\n", "x.def:1: the file begins with a byte order mark"),
        ("Bootstrap: oci\0\n", "x.def: this is not a definition file"),
        (f"{HEADER}%post\n cat <<X\nBootstrap: y\nX\n", "x.def:6: the header line 'X' has no colon"),
    ],
)
def test_errors_name_line_section_and_what_to_write(text, message):
    with pytest.raises(DefinitionError) as error:
        parsed(text)
    assert message in str(error.value)


def test_sections_are_joined_and_know_their_lines():
    one = stage("%POST -x\na\n\n%labels\nk v\n%post -e # c\nb\n%post\nc\n")
    post = one.sections["post"]
    assert (post.text, post.words, post.line) == ("a\n\nb\nc\n", ["-e"], 3)
    assert [post.lines.of(index) for index in range(4)] == [4, 5, 9, 11]
    assert stage("%post -x\na\n%post \nb\n").sections["post"].words == []


def test_a_section_without_a_line_is_not_there():
    assert set(stage("%runscript\n%labels\n\n%help").sections) == {"labels"}


def test_stages_know_their_lines_and_values():
    definition = parsed(f"# c\n\n{HEADER}Stage: one\n%post\n x\nBOOTSTRAP: scratch\n%files from one\n /a /b\n")
    assert [(one.name, one.line, one.base.uri) for one in definition.stages] == [("one", 3, "oci:base"), ("", 8, "")]
    assert definition.last.files[0].copies[0].line == 10
    assert definition.text.startswith(b"Bootstrap: oci")


def test_the_header_is_read_as_apptainer_does():
    text = (
        "bootstrap: docker # c\nFROM: a#b\nFrom: x\\\n   y # z\n# c\nNamespace: n\nregistry: r\n"
        "OtherURL12: u\nMirrorURL: a\\n\\\n b\n"
    )
    one = stage("", text)
    assert one.base.reference == "r/n/xy"
    assert one.header["mirrorurl"] == "a\nb"
    assert one.base.line == 3


@pytest.mark.parametrize(
    ("agent", "reference", "uri"),
    [
        ("docker", "alpine:3", "docker://alpine:3"),
        ("https", "//h.io/x.sif", "https://h.io/x.sif"),
        ("oras", "h.io/x:1", "oras://h.io/x:1"),
        ("localimage", "./a.sif", "./a.sif"),
        ("docker-daemon", "x:latest", "docker-daemon:x:latest"),
    ],
)
def test_bases_are_uris(agent, reference, uri):
    assert stage("", f"Bootstrap: {agent}\nFrom: {reference}\nFingerprints: A , B\n").base.uri == uri


def test_fingerprints_are_a_list():
    assert stage("", f"{HEADER}Fingerprints: A , B,\n").base.fingerprints == ("A", "B")


def test_files_are_copied_from_stages_first():
    text = f'{HEADER}Stage: s\n{HEADER}%files # c\n a\n%files from s\n b /c d\n%files  \n# x\n "e f" "/g h"\n'
    files = parsed(text).last.files
    assert [(group.stage, [(line.source, line.destination) for line in group.copies]) for group in files] == [
        ("s", [("b", "/c")]),
        ("", [("a", ""), ("e f", "/g h")]),
    ]


def test_labels_keep_what_is_in_their_values():
    text = 'A  x   y\nNone\n# c\nT\tab v\nQ "q" # h\nA z\n\u00a0N\u00a0x v\u00a0\n'
    assert parse_labels(text) == {"A": "z", "None": "", "T\tab": "v", "Q": '"q" # h', "N\u00a0x": "v"}


def test_bytes_that_are_no_text_stay():
    data = f"{HEADER}%post\n".encode() + b" echo \xff\xfe\r\n"
    definition = read_definition(data, "x.def")
    assert definition.text == data
    assert definition.last.text("post").encode("utf-8", "surrogateescape") == b" echo \xff\xfe\n"


def test_limits_are_named():
    small = Limits(definition_bytes=200, definition_stages=2, definition_sections=2, definition_labels=1)
    for text, limit in (
        ("#" * 201, "definition-bytes"),
        (HEADER * 3, "definition-stages"),
        (f"{HEADER}%post\n%post\n%post\n", "definition-sections"),
        (f"{HEADER}%labels\na b\nc d\n", "definition-labels"),
        (f"{HEADER}%arguments\nA={'x' * 90}\n%post\n{{{{ A }}}}\n{{{{ A }}}}\n", "definition-bytes"),
        (f"{HEADER}%arguments\nA={'x' * 50}\n%post\n{{{{ A }}}}\n" * 2, "definition-bytes"),
        (f"{HEADER}%arguments\nB={'x' * 60}\nA={{{{B}}}}{{{{B}}}}{{{{B}}}}{{{{B}}}}\n", "definition-bytes"),
    ):
        with pytest.raises(DefinitionError, match=rf"\(limit {limit}\)"):
            read_definition(text.encode(), "x.def", None, small)
        read_definition(text.encode() if text.startswith(HEADER) else HEADER.encode(), "x.def", None, Limits())


@pytest.mark.parametrize(
    "unit",
    [
        "\n",
        "%post\n",
        "# {{ A }} ",
        "{{ A }}",
        "{{",
        "{{ ",
        "{{A",
        "a b\n",
        '"',
        "'",
        "x\\\n",
        "#!{{A}}",
        "\r\n",
        "\u3000",
        ":\n",
    ],
)
@pytest.mark.parametrize("section", ["", "%files\n", "%arguments\nA=1\nA={{ A }}\n", "%labels\n", "%post\n"])
def test_hostile_text_takes_linear_time(section, unit):
    most = Limits(definition_sections=10**6, definition_labels=10**6)
    text = f"{HEADER}{section}{unit * ((1 << 16) // len(unit))}"
    begin = time.process_time()
    with suppress(DefinitionError):
        read_definition(text.encode(), "x.def", None, most)
    assert time.process_time() - begin < 2
