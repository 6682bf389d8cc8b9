"""h20: registries and proxies that answer GET and not HEAD; a HEAD that fails is followed by one GET."""

from __future__ import annotations

import pytest

from sifmake.cli.main import main
from sifmake.errors import RegistryError
from sifmake.registry.settings import HostSettings
from sifmake.sources.opening import open_sif_source
from support.layers import file, tar
from support.pulling import Memory, pull, settings
from support.registry import Answer, FakeRegistry, error

FAILURES = {
    "404": error(404, "MANIFEST_UNKNOWN"),
    "404 with a digest": error(404, "NO", **{"Docker-Content-Digest": f"sha256:{'0' * 64}"}),
    "403": error(403, "DENIED"),
    "400": error(400, "UNSUPPORTED"),
    "500": error(500, "UNKNOWN"),
    "502": error(502, "UNKNOWN"),
    "503": error(503, "UNKNOWN"),
    "405": error(405, "UNSUPPORTED"),
    "501": error(501, "UNSUPPORTED"),
    "408": error(408, "UNKNOWN"),
    "302 to nowhere": Answer(302),
    "no digest": lambda request: request.served(headers={}),
    "no good digest": lambda request: request.served(headers={"Docker-Content-Digest": "sha256:short"}),
}


@pytest.fixture
def registry():
    with FakeRegistry() as running:
        running.tag("org/image", "1", running.blobs.index([running.blobs.image([tar(file("x", b"x" * 5000))])]))
        yield running


@pytest.mark.parametrize("failure", FAILURES)
def test_h20_a_failed_head_is_followed_by_one_get(registry, failure):
    registry.on("HEAD", "/manifests/", FAILURES[failure])
    pulled = pull(f"docker://{registry.host}/org/image:1", known=Memory(f"{registry.host}/org/image:1"))
    assert pulled.index_digest == registry.serve_digest("org/image", "1")
    assert registry.count("HEAD") == 1
    assert registry.count("GET", "/manifests/1") == 1
    assert registry.count("GET", "/manifests/sha256:") == 1, "the index came with the GET that followed"


@pytest.mark.parametrize("failure", FAILURES)
def test_h20_the_second_pull_and_the_check_of_a_lock_work_too(registry, failure, tmp_path, monkeypatch):
    registry.on("HEAD", "/manifests/", FAILURES[failure])
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    uri = f"docker://{registry.host}/org/image:1"
    for _ in range(2):
        assert main(["pull", "-F", "--arch", "amd64", "x.sif", uri]) == 0
    (tmp_path / "config").mkdir()
    (tmp_path / "config/images.yaml").write_text(f"images: {{x: {{from: '{uri}'}}}}")
    assert main(["lock"]) == 0
    assert main(["lock", "--check"]) == 0


def test_h20_what_the_get_says_counts(registry):
    registry.on("HEAD", "/manifests/", error(404, "MANIFEST_UNKNOWN"))
    registry.on("GET", "/manifests/", error(404, "MANIFEST_UNKNOWN"))
    with pytest.raises(RegistryError, match="no such image"):
        pull(f"docker://{registry.host}/org/image:1", known=Memory(f"{registry.host}/org/image:1"))


@pytest.mark.parametrize("status", [401, 429])
def test_h20_no_get_where_it_could_not_help(registry, status):
    registry.on("HEAD", "/manifests/", error(status, "NO", **{"Retry-After": "21600"}))
    with pytest.raises(RegistryError):
        pull(f"docker://{registry.host}/org/image:1", known=Memory(f"{registry.host}/org/image:1"))
    assert registry.count("GET", "/manifests/") == 0


def test_h20_no_get_without_a_connection():
    with FakeRegistry() as gone:
        host = gone.host
    with pytest.raises(RegistryError, match=r"cannot be reached|refused|no connection"):
        pull(f"docker://{host}/org/image:1", known=Memory(f"{host}/org/image:1"))


def test_h20_a_mirror_is_asked_by_get_before_the_registry_is(registry):
    """A mirror that lacks the image costs the registry a HEAD, which counts as no pull."""
    with FakeRegistry() as mirror:
        registries = {registry.host: HostSettings(mirrors=(mirror.host,))}
        known = Memory(f"{registry.host}/org/image:1")
        mirror.blobs.data.update(registry.blobs.data)
        mirror.tag("org/image", "1", {"digest": registry.serve_digest("org/image", "1")})
        mirror.on("HEAD", "/manifests/", error(404, "MANIFEST_UNKNOWN"))
        pull(f"docker://{registry.host}/org/image:1", known=known, registries=registries)
        assert registry.log == []
        mirror.on("GET", "/manifests/", error(404, "MANIFEST_UNKNOWN"))
        pull(f"docker://{registry.host}/org/image:1", known=known, registries=registries)
        assert registry.log[0].method == "HEAD"


def test_h20_a_web_server_without_head(registry):
    registry.on("HEAD", "/tool.sif", error(500, "UNKNOWN"))
    source = open_sif_source(f"http://{registry.host}/tool.sif", settings())
    assert source.resolve() is None, "only fetching tells"
    assert registry.count("HEAD") == 1
    source.close()
