"""Addresses and settings of remote stores, in ``sifmake.yaml`` and in the environment."""

from __future__ import annotations

import pytest

from sifmake.errors import ConfigError
from sifmake.project.configuration import Configuration, load_configuration
from sifmake.remote.settings import RemoteSettings, is_pull_request

FULL = """
store:
  remote:
    - oci://localhost:5000/site/packs
    - https://packs.example/store/
    - {uri: "oci://registry.example/p", trust: signed, keys: [k.pub], push: true, sign-key: keys/k.pem, foreign: true}
"""


def load(folder, text):
    path = folder / "sifmake.yaml"
    path.write_text(text)
    return load_configuration(path, folder).find_remotes()


def test_an_address_or_a_mapping(tmp_path):
    plain, web, full = load(tmp_path, FULL)
    assert plain == RemoteSettings("oci://localhost:5000/site/packs")
    assert (plain.repository.registry, plain.repository.repository) == ("localhost:5000", "site/packs")
    assert (web.is_registry, web.host) == (False, "packs.example")
    key = str(tmp_path / "keys/k.pem")
    uri = "oci://registry.example/p"
    assert full == RemoteSettings(uri, signed=True, keys=(tmp_path / "k.pub",), push=True, sign_key=key, foreign=True)


def test_the_name_of_a_key_may_be_longer_than_that_of_a_file(tmp_path):
    name = "k" * 5000
    (remote,) = load(tmp_path, f"store: {{remote: [{{uri: 'oci://localhost:5000/x', sign-key: {name}}}]}}")
    assert remote.sign_key == name


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("oci://registry.example", "not the address of a repository"),
        ("oci://registry.example/a:tag", "not the address of a repository"),
        ("oci://registry.example/A", "lower-case"),
        ("https://user@host/x", "not the address of a folder"),
        ("https://host/x?y", "not the address of a folder"),
        ("ftp://host/x", "remote"),
        ("{uri: https://host/x, push: true}", "push needs a registry"),
        ("{uri: https://host/x, foreign: true}", "foreign needs a registry"),
        ("{uri: oci://host/x, trust: signed}", "needs the keys"),
        ("{uri: oci://host/x, trust: all}", "trust"),
        ("{trust: verify}", "uri"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path, text, words):
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, f"store:\n  remote:\n    - {text}\n")


def test_the_environment_adds_addresses(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_REMOTE_PACKS", "https://a.example/x oci://registry.example/p\thttps://a.example/x")
    assert [remote.uri for remote in Configuration().find_remotes()] == [
        "https://a.example/x",
        "oci://registry.example/p",
    ]
    *_, full, web = load(tmp_path, FULL)
    assert full.push, "what the file says of an address counts"
    assert web.uri == "https://a.example/x"
    monkeypatch.setenv("SIFMAKE_REMOTE_PACKS", "packs.example/x")
    with pytest.raises(ConfigError, match="not the address"):
        Configuration().find_remotes()


def test_runs_of_pull_requests_are_recognized():
    assert is_pull_request({"GITHUB_EVENT_NAME": "pull_request_target"})
    assert is_pull_request({"CI_PIPELINE_SOURCE": "merge_request_event"})
    assert not is_pull_request({"CI": "true", "GITHUB_EVENT_NAME": "push"})
