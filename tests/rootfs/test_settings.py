import json

import pytest

from sifmake.errors import SourceError
from sifmake.oci.model import ImageConfig, Platform
from sifmake.rootfs.gojson import compact
from sifmake.rootfs.settings import read_settings
from support.corpus import needs_corpus
from support.golden import image, names, sif_record


def config(document):
    raw = document if isinstance(document, str) else json.dumps(document)
    return ImageConfig(raw.encode(), json.loads(raw), Platform(), ())


@needs_corpus
@pytest.mark.parametrize("name", [name for name in names() if sif_record(name)])
def test_oci_config_equals_the_peers_byte_by_byte(name):
    assert compact(read_settings(image(name).config).document).decode() == sif_record(name)["oci_config_raw"]


@pytest.mark.parametrize(
    "document", [{}, {"config": None}, {"config": {}}, {"config": {"Env": None, "Cmd": [], "Labels": None, "User": ""}}]
)
def test_what_is_missing_null_or_empty_is_left_out(document):
    settings = read_settings(config(document))
    assert compact(settings.document) == b"{}"
    assert (settings.env, settings.entrypoint, settings.cmd, settings.labels) == ([], [], [], {})


@pytest.mark.parametrize(
    ("member", "value", "where"),
    [
        ("Env", {"A": "b"}, "config.Env"),
        ("Env", "A=b", "config.Env"),
        ("Entrypoint", "", "config.Entrypoint"),
        ("Entrypoint", "/bin/sh", "config.Entrypoint"),
        ("Cmd", [1], "config.Cmd"),
        ("Cmd", ["a\0b"], "config.Cmd"),
        ("Labels", {"a": 1}, "config.Labels.a"),
        ("Labels", ["a"], "config.Labels"),
        ("Volumes", {"/x": 1}, "config.Volumes"),
        ("Tty", "yes", "config.Tty"),
        ("Healthcheck", {"Interval": 1.5}, "config.Healthcheck.Interval"),
        ("Healthcheck", {"Retries": True}, "config.Healthcheck.Retries"),
        ("User", 0, "config.User"),
    ],
)
def test_members_of_a_wrong_type_are_refused(member, value, where):
    with pytest.raises(SourceError) as caught:
        read_settings(config({"config": {member: value}}))
    assert caught.value.what.startswith(f"{where} of the image config is not ")
    assert caught.value.hint


def test_a_config_that_is_not_an_object_is_refused():
    with pytest.raises(SourceError, match="config of the image config is not an object"):
        read_settings(config({"config": ["A=b"]}))


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        # What Go 1.22 and later print for v1.Config after reading the same text.
        ('{"cmd":["a"],"CMD":["b"]}', '{"Cmd":["b"]}'),
        ('{"Cmd":[null,"\\ud800x"]}', '{"Cmd":["","\ufffdx"]}'),
        (
            '{"User":"<&>\\u2028\\u0007\\u007f\\b\\"\\\\/"}',
            '{"User":"\\u003c\\u0026\\u003e\\u2028\\u0007\x7f\\b\\"\\\\/"}',
        ),
        ('{"Healthcheck":{}}', '{"Healthcheck":{}}'),
        ('{"Labels":{"b":"1","a":null,"B":"2"}}', '{"Labels":{"B":"2","a":"","b":"1"}}'),
        ('{"Memory":5,"StopTimeout":3,"Volumes":{"/b":{"x":1},"/a":null}}', '{"Volumes":{"/a":{},"/b":{}}}'),
    ],
)
def test_documents_are_written_as_go_writes_them(raw, expected):
    assert compact(read_settings(config(f'{{"config":{raw}}}')).document).decode() == expected
