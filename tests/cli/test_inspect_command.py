import json

import pytest

from sifmake.cli.main import main
from sifmake.sif import DataType, NewObject, plan
from support.corpus import SIF_FROM_PEERS, needs_corpus
from support.golden import record

DOCUMENT = {
    "data": {
        "attributes": {
            "apps": {
                "two": {"runscript": "run two"},
                "one": {"environment": {"/e": "E=1"}, "labels": {"k": "v"}, "test": "test one"},
            },
            "environment": {"/.singularity.d/env/90-environment.sh": "A=1", "/.singularity.d/env/10-docker.sh": "B=2"},
            "labels": {"b": "2", "a": "<1>"},
            "runscript": "run",
            "test": "test",
            "helpfile": "help",
            "deffile": "bootstrap: docker\nfrom: x",
            "startscript": "start",
            "unknown": 1,
        }
    },
    "type": "container",
}


def write_sif(path, inspect=None, deffile=b"bootstrap: oci\nfrom: x\n\n"):
    """Write a SIF file that has documents only."""
    objects = [(DataType.DEFINITION, "", deffile)]
    if inspect is not None:
        objects.append((DataType.GENERIC_JSON, "inspect-metadata.json", inspect))
    made = plan([NewObject(kind, len(data), name) for kind, name, data in objects], arch="unknown")
    path.write_bytes(made.head + b"".join(data for _, _, data in objects))
    return path


@pytest.fixture
def inspect(tmp_path, capsysbinary):
    """Run the command on a document; return exit status, output and errors."""

    def run(*options, document=DOCUMENT, raw=None):
        path = write_sif(tmp_path / "x.sif", json.dumps(document).encode() if raw is None else raw)
        status = main(["inspect", *options, str(path)])
        out, err = capsysbinary.readouterr()
        return status, out.decode(), err.decode()

    return run


def recorded(tool, name, label):
    """Return what a tool printed: its text, or its document parsed."""
    found = record(name)["inspect"]
    result = found["A"][label] if found[tool][label] == "<same as A>" else found[tool][label]
    if result == "<same as inspect without flags>":
        return recorded(tool, name, "inspect ")
    output = result.get("stdout", result.get("stdout_json"))
    if output == "<same value as object inspect-metadata.json>":
        return record(name)["sif"][tool]["json"]["inspect-metadata.json"]
    return output


@needs_corpus
@pytest.mark.parametrize("tool", ["A", "S"])
@pytest.mark.parametrize(
    "name", ["labels", "sdir-present", "ep-special", "cmd-shell", "env-quoting", "env-names", "no-config", "symparent"]
)
def test_output_equals_what_the_peer_shows_of_its_own_file(name, tool, inspect):
    document = record(name)["sif"][tool]["json"]["inspect-metadata.json"]
    compared = 0
    for label in record(name)["inspect"][tool]:
        output, options = recorded(tool, name, label), label.split()[1:]
        if "comment lines left out" in output:
            continue  # The text of a comment is not recorded, nor is its place.
        status, out, err = inspect(*options, document=document)
        assert (status, err) == (0, ""), options
        if isinstance(output, str):
            assert out == output, options
        else:
            assert json.loads(out) == output, options
            assert out.startswith('{\n\t"data": {\n\t\t"attributes": {'), options
            assert out.endswith('\n\t"type": "container"\n}\n'), options
        compared += 1
    assert compared >= 9


def list_all(value):
    """Return a document in which the order of keys counts."""
    return [(key, list_all(item)) for key, item in value.items()] if isinstance(value, dict) else value


@needs_corpus
@pytest.mark.parametrize("name", ["alpine-odd.apptainer.sif", "alpine-odd.singularity.pgp-signed.sif"])
def test_real_files_give_back_their_document(name, capsysbinary):
    from sifmake.sif import open_sif

    path = SIF_FROM_PEERS / name
    with open_sif(path) as sif:
        stored = sif.read(sif.find(name="inspect-metadata.json")[0])
    assert main(["inspect", "--all", str(path)]) == 0
    shown = capsysbinary.readouterr().out
    assert list_all(json.loads(shown)) == list_all(json.loads(stored))
    assert b"\\u0026\\u0026" in shown
    assert b"&" not in shown


@pytest.mark.parametrize(
    ("options", "output"),
    [
        ((), "a: <1>\nb: 2\n"),
        (("-d", "-r"), "bootstrap: docker\nfrom: x\nrun\n"),
        (("-r", "-s", "-t", "-H", "--deffile"), "bootstrap: docker\nfrom: x\nrun\nstart\ntest\nhelp\n"),
        (
            ("-e", "-l"),
            "=== /.singularity.d/env/10-docker.sh ===\nB=2\n\n"  # noqa: ISC004 - one text on two lines
            "=== /.singularity.d/env/90-environment.sh ===\nA=1\n\na: <1>\nb: 2\n",
        ),
        (("--list-apps",), "one\ntwo\n"),
        (("--app", "one"), "k: v\n"),
        (("--app", "one", "-t", "-e"), "test one\n=== /e ===\nE=1\n\n"),
        (("--app", "two", "-r"), "run two\n"),
        (("--app", "two", "-t"), ""),
    ],
)
def test_text(options, output, inspect):
    assert inspect(*options) == (0, output, "")


@pytest.mark.parametrize(
    ("options", "attributes"),
    [
        (("-j",), '"labels":{"a":"\\u003c1\\u003e","b":"2"}'),
        (("--json", "-s", "-d"), '"deffile":"bootstrap: docker\\nfrom: x","startscript":"start"'),
        (("--json", "--app", "two", "-r", "-l"), '"apps":{"two":{"runscript":"run two"}}'),
        (("--json", "-t", "--app", "one"), '"apps":{"one":{"test":"test one"}}'),
    ],
)
def test_json(options, attributes, inspect):
    status, out, err = inspect(*options)
    plain = "".join(line.strip() for line in out.split("\n")).replace('": ', '":')
    expected = f'{{"data":{{"attributes":{{{attributes}}}}},"type":"container"}}'.replace('": ', '":')
    assert (status, plain, err) == (0, expected, "")


def test_all_shows_everything_and_drops_what_is_not_known(inspect):
    status, out, _ = inspect("--all", "--app", "one", "-l")
    shown = json.loads(out)["data"]["attributes"]
    assert status == 0
    assert list(shown) == [key for key in DOCUMENT["data"]["attributes"] if key != "unknown"]
    assert list(shown["apps"]) == ["one", "two"]


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"", "not such a JSON document"),
        (b"\xff{", "not such a JSON document"),
        (b"[" * 100_000, "not such a JSON document"),
        (b"[]", "not such a JSON document"),
        (b'{"data":{}}', "not such a JSON document"),
        (b'{"data":{"attributes":[]}}', "the attributes are not an object"),
        (b'{"data":{"attributes":{"labels":{"a":1}}}}', "labels is not an object of texts"),
        (b'{"data":{"attributes":{"runscript":["x"]}}}', "runscript is not text"),
        (b'{"data":{"attributes":{"apps":["x"]}}}', "apps is not an object"),
        (b'{"data":{"attributes":{"apps":{"x":"y"}}}}', "the attributes are not an object"),
    ],
)
def test_a_damaged_document_is_one_clear_line(raw, why, inspect):
    status, out, err = inspect(raw=raw)
    assert (status, out) == (1, "")
    assert err.startswith("sifmake: error: ")
    assert f"x.sif: inspect-metadata.json is damaged: {why};" in err
    assert err.count("\n") == 1


def test_an_unknown_app_is_named(inspect):
    status, _, err = inspect("--app", "three")
    assert status == 1
    assert err.endswith("x.sif: there is no app 'three'; it has one, two\n")


def test_without_the_document_only_the_definition_can_be_shown(tmp_path, capsysbinary):
    path = str(write_sif(tmp_path / "x.sif"))
    assert main(["inspect", "-d", path]) == 0
    assert capsysbinary.readouterr().out == b"bootstrap: oci\nfrom: x\n"
    assert main(["inspect", path]) == 1
    assert (
        b"the file has no object inspect-metadata.json, and its file system is not searched; "
        in capsysbinary.readouterr().err
    )


@needs_corpus
def test_an_oci_sif_is_not_such_a_file(capsysbinary):
    assert main(["inspect", str(SIF_FROM_PEERS / "busybox-musl.oci.sif")]) == 1
    assert b"inspect-metadata.json" in capsysbinary.readouterr().err


def test_a_terminal_gets_no_control_characters(tmp_path, monkeypatch, inspect):
    import sys

    document = {"data": {"attributes": {"labels": {"evil": "\x1b[31mred\nnext\u202e"}}}, "type": "container"}
    assert inspect(document=document)[1] == "evil: \x1b[31mred\nnext\u202e\n"
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert inspect(document=document)[1] == "evil: \\x1b[31mred\nnext\\u202e\n"
