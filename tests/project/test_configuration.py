from __future__ import annotations

from pathlib import Path

import pytest

from sifmake.errors import ConfigError
from sifmake.limits import Limits
from sifmake.progress import Silent
from sifmake.project.configuration import HANDED_ON, Configuration, hand_on, load_configuration
from sifmake.registry.settings import HostSettings
from sifmake.store.access import Access
from sifmake.store.folder import FolderRules
from sifmake.store.trust import Trust

FULL = """
store: {path: cache, read-only: [/cvmfs/store]}
key: keys/mine.pem
trusted-keys: [keys/trusted]
auth-file: auth.json
registries:
  "localhost:5000": {plain-http: true}
  ghcr.io: {mirrors: ["mirror.example.org/ghcr"], ca-file: ca.pem}
parallel-requests: 4
limits: {layer-bytes: 1000, inflate-ratio: 9}
notify: [mail, admin]
"""


def test_relative_paths_start_from_the_project(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(FULL)
    found = load_configuration(path, Path("/project"))
    assert found.store == Path("/project/cache")
    assert found.read_only_stores == (Path("/cvmfs/store"),)
    assert found.key == "/project/keys/mine.pem"
    assert found.trusted_keys == (Path("/project/keys/trusted"),)
    assert found.registries["localhost:5000"] == HostSettings(plain_http=True)
    assert found.registries["ghcr.io"] == HostSettings(
        mirrors=("mirror.example.org/ghcr",), ca_file=Path("/project/ca.pem")
    )
    assert (found.limits.layer_bytes, found.limits.inflate_ratio) == (1000, 9)
    assert found.notify == ("mail", "admin")


def test_whom_a_store_is_for(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text("store: {path: s, shared: group, trusted-owners: [svc, 1004], trusted-groups: [proj]}\n")
    found = load_configuration(path, tmp_path)
    assert (found.shared, found.trusted_owners, found.trusted_groups) == ("group", ("svc", 1004), ("proj",))
    store = found.open_store(Silent())
    assert (store.rules.access, store.rules.trust) == (
        Access("group", writers=True),
        Trust(("svc", 1004), ("proj",)),
    )
    assert load_configuration(tmp_path / "none.yaml", tmp_path).open_store(Silent()).rules == FolderRules()


@pytest.mark.parametrize("text", ["shared: some", "shared: true", "trusted-owners: svc", "trusted-groups: [-1]"])
def test_nonsense_about_whom_a_store_is_for_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"store:\n  {text}\n")
    with pytest.raises(ConfigError, match=f"{path}:2: store.{text.partition(':')[0]}"):
        load_configuration(path, tmp_path)


def test_a_missing_file_means_defaults(tmp_path: Path) -> None:
    assert load_configuration(tmp_path / "none.yaml", tmp_path) == Configuration()


@pytest.mark.parametrize("word", ["development", "gpg:ABCD", "mykey", "k" * 5000], ids=len)
def test_a_key_that_is_not_a_path_stays_as_it_is(tmp_path: Path, word: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"key: {word}\n")
    assert load_configuration(path, tmp_path).key == word


@pytest.mark.parametrize("thorough", [True, False])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("store: here\n", ":1: store: 'here' is not of type 'object'"),
        ("registries:\n  a: true\n", ":2: registries.a: True is not of type 'object'"),
        ("limits: {layer-byte: 1}\n", "unknown key 'layer-byte'; did you mean 'layer-bytes'?"),
    ],
)
def test_errors_are_the_same_when_the_schema_is_checked_late(
    tmp_path: Path, text: str, message: str, *, thorough: bool
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_configuration(path, tmp_path, thorough=thorough)
    assert message in str(caught.value)


def test_a_checked_configuration_is_passed_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(FULL)
    monkeypatch.setenv(HANDED_ON, "null")
    hand_on(path)
    with monkeypatch.context() as context:
        context.setattr("sifmake.project.yaml_file.YamlFile.read", None)
        found = load_configuration(path, tmp_path, thorough=False)
    assert found == load_configuration(path, tmp_path)
    path.write_text("key: other.pem\n")
    assert load_configuration(path, tmp_path, thorough=False).key == "other.pem"


def test_a_home_that_is_not_there_is_not_a_traceback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "c.yaml").write_text("key: ~/key.pem\n")
    monkeypatch.delenv("HOME")
    monkeypatch.setattr("pwd.getpwuid", lambda uid: {}[uid])
    with pytest.raises(ConfigError, match=r"c\.yaml: a path begins with ~, but there is no home directory; set HOME"):
        load_configuration(tmp_path / "c.yaml", tmp_path)


@pytest.mark.parametrize(
    ("written", "host"),
    [
        ("index.docker.io", "docker.io"),
        ("https://registry-1.docker.io/", "docker.io"),
        ("https://Quay.IO", "quay.io"),
        ("localhost:5000", "localhost:5000"),
    ],
)
def test_a21_registries_and_mirrors_are_copied_with_their_scheme(tmp_path: Path, written: str, host: str) -> None:
    """Docker's own settings name mirrors by address; a name that nothing matches would leave the mirror unused."""
    path = tmp_path / "config.yaml"
    path.write_text(f'registries: {{"{written}": {{mirrors: ["https://mirror.example/hub", "other:5000"]}}}}\n')
    found = load_configuration(path, tmp_path).registries
    assert found == {host: HostSettings(mirrors=("mirror.example/hub", "other:5000"))}


@pytest.mark.parametrize(
    ("text", "where"),
    [
        ('{a.io: {mirrors: ["http://mirror"]}}', "registries.a.io.mirrors.0: 'http://mirror'"),
        ('{a.io: {mirrors: ["ftp://mirror/x"]}}', "registries.a.io.mirrors.0: 'ftp://mirror/x'"),
        ('{"http://a.io": {}}', "registries: 'http://a.io'"),
        ("{a.io/org: {}}", "registries: 'a.io/org'"),
    ],
)
def test_what_is_not_a_registry_or_mirror_says_how_it_is_written(tmp_path: Path, text: str, where: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(f"registries: {text}\n")
    with pytest.raises(ConfigError) as caught:
        load_configuration(path, tmp_path)
    assert f"{where} is not written as it should be; Write HOST" in str(caught.value)
    assert "plain-http" in str(caught.value)


@pytest.mark.parametrize("thorough", [True, False])
@pytest.mark.parametrize(
    "text",
    ["", "# key: mine\n", "~\n", "store:\n#  path: x\n", "registries:\nlimits:\n", "registries:\n  a.example:\n"],
)
def test_f5_sections_whose_lines_are_all_comments_are_empty(tmp_path: Path, text: str, *, thorough: bool) -> None:
    path = tmp_path / "sifmake.yaml"
    path.write_text(text)
    found = load_configuration(path, tmp_path, thorough=thorough)
    assert (found.store, found.key, found.limits) == (None, "", Limits())
    assert all(host == HostSettings() for host in found.registries.values())


@pytest.mark.parametrize("key", ["key", "require-signature"])
def test_f5_a_setting_without_a_value_is_not_ignored(tmp_path: Path, key: str) -> None:
    path = tmp_path / "sifmake.yaml"
    path.write_text(f"{key}:\n")
    with pytest.raises(ConfigError, match=f"{key}: the key has no value; write one, or delete the line"):
        load_configuration(path, tmp_path)
