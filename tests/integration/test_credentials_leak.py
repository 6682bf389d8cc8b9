"""User and password in variables reach the registry they are for, and nobody that a project's files name."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest

from sifmake.cli.main import main
from sifmake.registry.credentials import CredentialStore
from support.layers import file, tar
from support.project import Folder
from support.pulling import Messages
from support.registry import Answer, FakeRegistry, error
from support.sif_files import sif_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECRET = "not for you"
PREFIXES = ["SIFMAKE_DOCKER_", "APPTAINER_DOCKER_", "SINGULARITY_DOCKER_", "DOCKER_"]
PEERS = PREFIXES[1:]
CHALLENGE = error(401, "UNAUTHORIZED", **{"WWW-Authenticate": "Basic realm=x"})


def variables(prefix: str) -> dict[str, str]:
    return {f"{prefix}USERNAME": "alice", f"{prefix}PASSWORD": SECRET}


def greedy() -> FakeRegistry:
    """Return a registry that answers nobody without credentials."""
    registry = FakeRegistry()
    registry.tag("org/image", "1", registry.blobs.image([tar(file("a", b"a" * 1000))]))
    for method in ("GET", "HEAD", "POST", "PUT"):
        registry.on(method, "/v2/", lambda request: None if "authorization" in request.headers else CHALLENGE)
    return registry


@pytest.fixture
def registry() -> Iterator[FakeRegistry]:
    with greedy() as running:
        yield running


def has_seen(registry: FakeRegistry) -> bool:
    """Whether the secret arrived, in any form."""
    pair = base64.b64encode(f"alice:{SECRET}".encode()).decode()
    return any(
        pair in value or SECRET in value
        for request in registry.log
        for value in [*request.headers.values(), request.path, request.body.decode(errors="replace")]
    )


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of its own to work in, with no credentials of the machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("no_proxy", "*")
    for name in ("DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME", "CI"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def project_of(tmp_path: Path, uri: str, host: str, prefix: str, **more: object) -> Folder:
    project = Folder(tmp_path / "project", tmp_path / "home")
    project.config = {"registries": {host: {"plain-http": True}}, **more}
    project.images = {"x": {"from": uri}}
    project.environ = variables(prefix)
    project.write()
    return project


@pytest.mark.parametrize("scheme", ["docker", "oras"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_registry_that_a_project_names_gets_nothing(
    tmp_path: Path, registry: FakeRegistry, prefix: str, scheme: str
) -> None:
    project = project_of(tmp_path, f"{scheme}://{registry.host}/org/image:1", registry.host, prefix)
    said = project.run("sifmake", "lock", status=1)
    assert "SIFMAKE_DOCKER_REGISTRY" in said
    assert registry.log
    assert not has_seen(registry)


@pytest.mark.parametrize("engine", ["doit", "snakemake"])
def test_nor_by_the_engines(tmp_path: Path, registry: FakeRegistry, engine: str) -> None:
    project = project_of(tmp_path, f"docker://{registry.host}/org/image:1", registry.host, "APPTAINER_DOCKER_")
    project.build(engine, status=1)
    assert registry.log
    assert not has_seen(registry)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_the_registry_that_a_variable_names_gets_them_in_a_project(
    tmp_path: Path, registry: FakeRegistry, prefix: str
) -> None:
    project = project_of(tmp_path, f"docker://{registry.host}/org/image:1", registry.host, prefix)
    project.environ["SIFMAKE_DOCKER_REGISTRY"] = f"http://{registry.host}/"
    project.run("sifmake", "lock")
    assert has_seen(registry)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_registry_that_a_person_typed(
    own: Path, monkeypatch: pytest.MonkeyPatch, registry: FakeRegistry, prefix: str
) -> None:
    """Apptainer sends its variables to whatever is typed; sifmake's own are for one registry."""
    for name, value in variables(prefix).items():
        monkeypatch.setenv(name, value)
    status = main(["-q", "pull", "--no-https", "x.sif", f"docker://{registry.host}/org/image:1"])
    assert status == (1 if prefix == "SIFMAKE_DOCKER_" else 0)
    assert has_seen(registry) == (prefix in PEERS)
    assert (own / "x.sif").exists() == (prefix in PEERS)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_an_upload_goes_by_the_same_rule(
    own: Path, monkeypatch: pytest.MonkeyPatch, registry: FakeRegistry, prefix: str
) -> None:
    (own / "x.sif").write_bytes(sif_of(b"data"))
    for name, value in variables(prefix).items():
        monkeypatch.setenv(name, value)
    main(["-q", "push", "--no-https", "x.sif", f"oras://{registry.host}/org/image:1"])
    assert has_seen(registry) == (prefix in PEERS)


@pytest.mark.parametrize("named", ["registry", "mirror"])
@pytest.mark.parametrize("prefix", PREFIXES)
def test_a_mirror_gets_nothing(tmp_path: Path, registry: FakeRegistry, prefix: str, named: str) -> None:
    """Not even where the variable names the mirror's host: what it has for the registry is asked without a user."""
    with greedy() as mirror:
        uri = f"docker://{registry.host}/org/image:1"
        settings = {registry.host: {"plain-http": True, "mirrors": [mirror.host]}, mirror.host: {"plain-http": True}}
        project = project_of(tmp_path, uri, registry.host, prefix, registries=settings)
        project.environ["SIFMAKE_DOCKER_REGISTRY"] = registry.host if named == "registry" else mirror.host
        project.run("sifmake", "lock", status=0 if named == "registry" else 1)
        assert mirror.log
        assert not has_seen(mirror)
        assert has_seen(registry) == (named == "registry")


def test_a_mirror_of_registries_conf_gets_nothing(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with greedy() as registry, greedy() as mirror:
        conf = own / "registries.conf"
        conf.write_text(
            f'[[registry]]\nlocation = "{registry.host}"\ninsecure = true\n'
            f'[[registry.mirror]]\nlocation = "{mirror.host}"\ninsecure = true\n'
        )
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
        for name, value in variables("APPTAINER_DOCKER_").items():
            monkeypatch.setenv(name, value)
        assert main(["-q", "pull", "x.sif", f"docker://{registry.host}/org/image:1"]) == 0
        assert mirror.log
        assert not has_seen(mirror)


def test_where_registries_conf_moves_a_registry_gets_nothing(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with greedy() as elsewhere:
        conf = own / "registries.conf"
        conf.write_text(f'[[registry]]\nprefix = "quay.io"\nlocation = "{elsewhere.host}"\ninsecure = true\n')
        monkeypatch.setenv("CONTAINERS_REGISTRIES_CONF", str(conf))
        for name, value in variables("DOCKER_").items():
            monkeypatch.setenv(name, value)
        assert main(["-q", "pull", "x.sif", "docker://quay.io/org/image:1"]) == 1
        assert elsewhere.log
        assert not has_seen(elsewhere)


def test_a_login_for_a_mirror_still_counts(tmp_path: Path, registry: FakeRegistry) -> None:
    """What a file has for the mirror's own host is for the mirror."""
    with greedy() as mirror:
        auth = {"auth": base64.b64encode(b"bob:mirror").decode()}
        (tmp_path / "auth.json").write_text(json.dumps({"auths": {mirror.host: auth}}))
        settings = {registry.host: {"plain-http": True, "mirrors": [mirror.host]}, mirror.host: {"plain-http": True}}
        uri = f"docker://{registry.host}/org/image:1"
        project = project_of(tmp_path, uri, registry.host, "DOCKER_", registries=settings)
        project.environ["REGISTRY_AUTH_FILE"] = str(tmp_path / "auth.json")
        project.run("sifmake", "lock")
        assert not has_seen(mirror)
        assert registry.log == []


def test_a_redirect_gets_nothing(own: Path, monkeypatch: pytest.MonkeyPatch, registry: FakeRegistry) -> None:
    with FakeRegistry() as elsewhere:
        elsewhere.blobs = registry.blobs
        elsewhere.on("GET", "/", lambda request: CHALLENGE if "authorization" not in request.headers else None)
        registry.on("GET", "/blobs/", lambda r: Answer(307, headers={"Location": f"http://{elsewhere.host}{r.path}"}))
        registry._rules.reverse()
        for name, value in variables("APPTAINER_DOCKER_").items():
            monkeypatch.setenv(name, value)
        main(["-q", "pull", "--no-https", "x.sif", f"docker://{registry.host}/org/image:1"])
        assert elsewhere.log
        assert not has_seen(elsewhere)


@pytest.mark.parametrize(
    ("bound", "host", "repository", "gets"),
    [
        ("", "docker.io", "library/alpine", True),
        ("", "quay.io", "org/image", False),
        ("", "docker.io.evil.example", "x", False),
        ("docker.io", "docker.io", "x", True),
        ("https://index.docker.io/v1/", "docker.io", "x", True),
        ("quay.io", "quay.io", "x", True),
        ("quay.io", "docker.io", "x", False),
        ("QUAY.io", "quay.io", "x", True),
        ("quay.io/org", "quay.io", "org/image", True),
        ("quay.io/org", "quay.io", "organ/image", False),
        ("quay.io", "quay.io:5000", "x", False),
    ],
)
@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_variables_are_bound_to(prefix: str, bound: str, host: str, repository: str, gets: bool) -> None:  # noqa: FBT001
    environ = {**variables(prefix), **({"SIFMAKE_DOCKER_REGISTRY": bound} if bound else {})}
    found = CredentialStore(environ, Messages(), typed=False).find(host, repository)
    assert (found is not None) == gets
