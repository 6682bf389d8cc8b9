"""``registries.conf`` by containers-registries.conf(5); mirrors in it spare the registry (row a21)."""

from __future__ import annotations

import shutil
import subprocess

import pytest

from sifmake.errors import ConfigError, RegistryError
from sifmake.reference import parse_reference
from sifmake.registry import HostSettings, registries_conf
from sifmake.registry.registries_conf import find_locations
from sifmake.sources.oras import push_sif
from support.pulling import pull, settings
from support.registry import Answer, FakeRegistry

CLOSED = f"/{'h' * 300}"
"""Looking there is an error for root too: a name of more than 255 bytes."""


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Return the system's and the user's folder; nothing of the machine is seen."""
    monkeypatch.setattr(registries_conf, "SYSTEM_FOLDER", tmp_path / "etc")
    return tmp_path


@pytest.fixture
def environ(place):
    return {"HOME": str(place / "home")}


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def locations(name, environ):
    found = find_locations(parse_reference(name), environ)
    return [f"{item.host}/{item.repository}{' insecure' * item.insecure}" for item in found]


MAIN = """
unqualified-search-registries = ["example.com"]

[[registry]]
location = "docker.io"

[[registry.mirror]]
location = "mirror.example:5000/hub"
insecure = true

[[registry.mirror]]
location = "second.example"

[[registry]]
prefix = "quay.io/group"
location = "internal.example/deep/group"

[[registry]]
prefix = "quay.io/group/special"
location = "other.example/special"

[[registry]]
prefix = "*.moved.example"
[[registry.mirror]]
location = "mirror.example/moved"

[[registry]]
location = "bad.example"
blocked = true

[[registry]]
location = "pinned.example"
mirror-by-digest-only = true
[[registry.mirror]]
location = "m.example/one"

[[registry]]
location = "each.example"
[[registry.mirror]]
location = "m.example/tags"
pull-from-mirror = "tag-only"
[[registry.mirror]]
location = "m.example/digests"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "m.example/all"
pull-from-mirror = "all"
"""
PIN = f"@sha256:{'1' * 64}"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "alpine",
            [
                "mirror.example:5000/hub/library/alpine insecure",
                "second.example/library/alpine",
                "docker.io/library/alpine",
            ],
        ),
        ("ghcr.io/a/b:1", []),
        ("quay.io/group/tool:1", ["internal.example/deep/group/tool"]),
        ("quay.io/group/special/x", ["other.example/special/x"]),
        ("quay.io/groups/tool", []),
        ("a.b.moved.example/x/y", ["mirror.example/moved/x/y", "a.b.moved.example/x/y"]),
        ("moved.example/x", []),
        ("pinned.example/x:1", ["pinned.example/x"]),
        (f"pinned.example/x{PIN}", ["m.example/one/x", "pinned.example/x"]),
        ("each.example/x:1", ["m.example/tags/x", "m.example/all/x", "each.example/x"]),
        (f"each.example/x:1{PIN}", ["m.example/digests/x", "m.example/all/x", "each.example/x"]),
    ],
)
def test_where_a_name_leads(place, environ, name, expected):
    write(place / "etc/registries.conf", MAIN)
    assert locations(name, environ) == expected


def test_a_blocked_registry(place, environ):
    write(place / "etc/registries.conf", MAIN)
    with pytest.raises(RegistryError, match=r"bad.example/x: the registry is blocked by .*registries.conf"):
        locations("bad.example/x", environ)


def entry(location, registry="r.example"):
    return f'[[registry]]\nprefix = "{registry}"\nlocation = "{location}"\n'


def test_which_file_counts(place, environ):
    """The user's file replaces the system's; the folders' files follow, the user's last; a variable names the first."""
    order = ["etc/registries.conf", "home/.config/containers/registries.conf"]
    order += ["etc/registries.conf.d/1.conf", "etc/registries.conf.d/2.conf"]
    order += ["home/.config/containers/registries.conf.d/0.conf"]
    for number, path in enumerate(order):
        write(place / path, entry(f"n{number}.example"))
        assert locations("r.example/x", environ) == [f"n{number}.example/x"]
    write(place / "named.conf", entry("named.example", "other.example"))
    named = {**environ, "CONTAINERS_REGISTRIES_CONF": str(place / "named.conf")}
    assert locations("other.example/x", named) == ["named.example/x"]
    assert locations("r.example/x", named) == ["n4.example/x"]


@pytest.mark.parametrize(
    "text",
    [
        "[[registry]\nlocation",
        "[[registry]]\nmirror = 3",
        '[[registry]]\nlocation = "r.example"\nmirror = [3]',
        "registry = [1] # [[registry",
        '[[registry]]\nprefix = "r.example"\nlocation = "https://x"',
    ],
)
def test_a_damaged_file_is_named(place, environ, text):
    write(place / "etc/registries.conf", text)
    with pytest.raises(ConfigError, match=r"registries.conf: "):
        find_locations(parse_reference("r.example/x"), environ)


def test_nothing_is_nothing(place, environ):
    assert locations("alpine", environ) == []
    write(place / "etc/registries.conf.d/shortnames.conf", '[aliases]\n"alpine" = "example.com/alpine"\n')
    assert locations("alpine", environ) == []
    assert find_locations(parse_reference("alpine"), {}) == []


def test_e18_a_home_that_cannot_be_entered(place):
    write(place / "etc" / "registries.conf", MAIN)
    assert locations("quay.io/group/x", {"HOME": CLOSED}) == ["internal.example/deep/group/x"]


def test_a21_a_mirror_in_registries_conf_spares_the_registry(place, environ):
    with FakeRegistry() as origin, FakeRegistry() as mirror:
        image = mirror.blobs.image([b"one"])
        mirror.tag("hub/org/image", "1", image)
        origin.blobs = mirror.blobs
        origin.tag("org/image", "1", image)
        text = f'[[registry]]\nlocation = "{origin.host}"\n[[registry.mirror]]\nlocation = "{mirror.host}/hub"\n'
        write(place / "etc/registries.conf", text)
        uri = f"docker://{origin.host}/org/image:1"
        pulled = pull(uri, environ=environ)
        assert (pulled.name, len(origin.log)) == (f"{origin.host}/org/image:1", 0)
        pull(uri, environ=environ, registries={origin.host: HostSettings()})
        assert origin.count("GET") == 3, "sifmake's own configuration comes first"


def test_a_moved_registry_is_asked_at_its_new_place(place, environ):
    with FakeRegistry() as registry:
        registry.tag("deep/image", "1", registry.blobs.image([b"one"]))
        write(place / "etc/registries.conf", entry(f"{registry.host}/deep", "old.example/org"))
        assert pull("docker://old.example/org/image:1", environ=environ).name == "old.example/org/image:1"


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="missing on this machine: skopeo")
@pytest.mark.parametrize("name", ["org/image:1", "org/special/image:1", "else/image:1"])
def test_skopeo_asks_at_the_same_places(place, environ, name):
    with FakeRegistry() as origin, FakeRegistry() as mirror:
        origin.tag("moved/special/image", "1", image := origin.blobs.image([b"one"]))
        origin.tag("else/image", "1", image)
        origin.tag("org/image", "1", image)
        text = f"""
            [[registry]]
            location = "{origin.host}"
            insecure = true
            [[registry.mirror]]
            location = "{mirror.host}/hub"
            insecure = true
            [[registry]]
            prefix = "{origin.host}/org/special"
            location = "{origin.host}/moved/special"
            insecure = true
        """
        write(place / "etc/registries.conf", text)
        conf = str(place / "etc/registries.conf")
        words = ["skopeo", "--registries-conf", conf, "inspect", "--raw", "--tls-verify=false"]
        subprocess.run([*words, f"docker://{origin.host}/{name}"], check=True, capture_output=True)
        asked = [paths(registry) for registry in (origin, mirror)]
        for registry in (origin, mirror):
            registry.log.clear()
        pull(f"docker://{origin.host}/{name}", environ=environ)
        assert [paths(registry) for registry in (origin, mirror)] == asked


def paths(registry):
    """Return the repositories that were asked for their tag."""
    return {request.path for request in registry.log if request.path.endswith("/manifests/1")}


def test_a_push_goes_to_the_registry_that_is_named(place, environ, tmp_path):
    (tmp_path / "x.sif").write_bytes(b"SIF_MAGIC".ljust(100))
    with FakeRegistry() as named, FakeRegistry() as other:
        write(place / "etc/registries.conf", entry(other.host, named.host))
        named.on("HEAD", "/blobs/", Answer(200))
        named.on("PUT", "/manifests/1", Answer(201))
        push_sif(tmp_path / "x.sif", parse_reference(f"{named.host}/x:1"), settings(environ=environ))
        assert (named.count("PUT"), other.log) == (1, [])
