"""``certs.d`` as Docker and Podman read it, and whose certificates count where."""

from __future__ import annotations

from pathlib import Path

import pytest

from sifmake.errors import ConfigError, RegistryError
from sifmake.registry import HostSettings, certs_d
from sifmake.registry.certs_d import HostSettingsLookup
from sifmake.registry.tls import make_context
from support.docker_registry import Authority

HOST = "registry.example:5000"


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """Return the user's folder and the system's two; nothing of the machine is seen."""
    system = (tmp_path / "etc/containers/certs.d", tmp_path / "etc/docker/certs.d")
    monkeypatch.setattr(certs_d, "SYSTEM_FOLDERS", system)
    return [tmp_path / "home/.config/containers/certs.d", *system]


@pytest.fixture
def environ(tmp_path):
    return {"HOME": str(tmp_path / "home")}


def fill(folder: Path, host: str, *names: str) -> Path:
    place = folder / host
    place.mkdir(parents=True)
    for name in names:
        (place / name).write_text("")
    return place


def test_without_a_folder_there_is_nothing(folders, environ):
    assert HostSettingsLookup({}, environ).of(HOST) == HostSettings()
    assert not HostSettingsLookup({}, environ).knows(HOST)


def test_what_a_folder_says(folders, environ):
    place = fill(folders[2], HOST, "b.crt", "a.crt", "client.cert", "client.key", "notes.txt")
    expected = HostSettings(
        more_ca=(place / "a.crt", place / "b.crt"), client_cert=place / "client.cert", client_key=place / "client.key"
    )
    assert HostSettingsLookup({}, environ).of(HOST) == expected
    assert HostSettingsLookup({}, environ).of("registry.example") == HostSettings(), "another port is another host"


def test_the_first_folder_counts_alone(folders, environ, tmp_path):
    """containers-certs.d(5): the first directory that is found is used."""
    for folder in reversed(folders):
        place = fill(folder, HOST, "ca.crt")
        assert HostSettingsLookup({}, environ).of(HOST).more_ca == (place / "ca.crt",)
    moved = fill(tmp_path / "xdg/containers/certs.d", HOST, "x.crt")
    assert HostSettingsLookup({}, {"XDG_CONFIG_HOME": str(tmp_path / "xdg"), **environ}).of(HOST).more_ca == (
        moved / "x.crt",
    )


def test_e18_a_home_that_cannot_be_entered(folders):
    """Looking there is an error for root too: a name of more than 255 bytes."""
    place = fill(folders[1], HOST, "ca.crt")
    assert HostSettingsLookup({}, {"HOME": f"/{'h' * 300}"}).of(HOST).more_ca == (place / "ca.crt",)


def test_docker_hub_by_its_name(folders, environ):
    place = fill(folders[1], "docker.io", "ca.crt")
    for name in ("docker.io", "registry-1.docker.io"):
        assert HostSettingsLookup({}, environ).of(name).more_ca == (place / "ca.crt",)


@pytest.mark.parametrize(
    "own", [HostSettings(ca_file=Path("own")), HostSettings(client_cert=Path("own")), HostSettings(plain_http=True)]
)
def test_the_configuration_comes_first(folders, environ, own):
    fill(folders[0], HOST, "ca.crt")
    assert HostSettingsLookup({HOST: own}, environ).of(HOST) == own


def test_mirrors_in_the_configuration_leave_certificates_to_the_folder(folders, environ):
    place = fill(folders[0], HOST, "ca.crt")
    own = HostSettings(mirrors=("mirror",))
    assert HostSettingsLookup({HOST: own}, environ).of(HOST) == HostSettings(
        mirrors=("mirror",), more_ca=(place / "ca.crt",)
    )


def test_a_client_certificate_without_its_key(folders, environ):
    fill(folders[0], HOST, "ca.cert")
    with pytest.raises(ConfigError, match=r"ca.cert: there is no ca.key .*\*\.crt"):
        HostSettingsLookup({}, environ).of(HOST)


def test_the_systems_certificates_count_too_unless_the_configuration_names_others(tmp_path):
    first, second = (Authority(tmp_path / name) for name in ("one", "two") if not (tmp_path / name).mkdir())
    environ = {"SSL_CERT_FILE": str(first.ca_file)}

    def trusted(settings):
        return len(make_context(settings, environ).get_ca_certs())

    assert trusted(HostSettings()) == 1
    assert trusted(HostSettings(more_ca=(second.ca_file,))) == 2
    assert trusted(HostSettings(ca_file=second.ca_file)) == 1


@pytest.mark.parametrize("content", [None, b"", b"no certificate"])
def test_a_file_that_cannot_be_used_is_named(tmp_path, content):
    path = tmp_path / "ca.crt"
    if content is not None:
        path.write_bytes(content)
    for settings in (HostSettings(ca_file=path), HostSettings(more_ca=(path,))):
        with pytest.raises(RegistryError, match=r"ca.crt: the certificate cannot be used"):
            make_context(settings, {})
    with pytest.raises(RegistryError, match=r"ca.crt: the client certificate with key cannot be used"):
        make_context(HostSettings(client_cert=path), {})
