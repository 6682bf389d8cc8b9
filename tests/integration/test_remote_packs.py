"""Packs by Debian's docker-registry: two machines (two stores, two users), damage, and what nobody needs any more."""

from __future__ import annotations

import json
import os
import shutil
import urllib.request

import pytest
import yaml

from sifmake.cli.main import main
from sifmake.project.lock_file import checksum
from support.docker_registry import PASSWORD, USER, needs_registry, running
from support.images import Blobs, digest_of, write_layout
from support.layers import file, folder, tar
from support.two_users import ALICE, BOB, SIFMAKE, as_user

pytestmark = [
    *needs_registry,
    pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, for two users"),
]
LAYERS = [
    tar(folder("bin/"), file("bin/sh", b"#!" * 40_000), file("bin/x", b"x" * 100)),
    tar(folder("etc/"), file("etc/a", os.urandom(150_000)), file("bin/x", b"y" * 90)),
]


class Site:
    """One registry with an image and a place for packs.

    Attributes:
        registry: The registry.
        image: Name of the image.
        layers: Digests of its layers.
    """

    def __init__(self, root, registry):
        self.root = root
        self.registry = registry
        blobs = Blobs()
        descriptor = blobs.image(LAYERS)
        self.layers = [layer["digest"] for layer in json.loads(blobs[descriptor["digest"]])["layers"]]
        layout = write_layout(root / "layout", blobs, {"1": descriptor})
        registry.push(f"oci:{layout}:1", "org/tool:1")
        self.image = f"docker://{registry.host}/org/tool:1"
        self.packs = f"oci://{registry.host}/site/packs"

    def machine(self, uid, name):
        """Return the folder of a user whose settings name the packs, and a store of its own."""
        place = self.root / name
        place.mkdir()
        remote = {"uri": self.packs, "push": uid == ALICE}
        (place / "sifmake.yaml").write_text(json.dumps({"store": {"path": "store", "remote": [remote]}}))
        for path in (place, place / "sifmake.yaml"):
            os.chown(path, uid, uid)
        return place

    def pull(self, uid, name):
        """Build the image as a user; return its bytes and what was said."""
        place = self.machine(uid, name)
        done = as_user(uid, *SIFMAKE, "pull", "x.sif", self.image, cwd=place)
        assert done.returncode == 0, done.stderr
        return (place / "x.sif").read_bytes(), done.stderr

    def asked(self):
        """Return how often each layer was asked for."""
        return [len(self.registry.requests("GET", digest)) for digest in self.layers]

    def tags(self):
        with urllib.request.urlopen(f"http://{self.registry.host}/v2/site/packs/tags/list") as answer:
            return sorted(json.loads(answer.read())["tags"] or [])

    def packs_of(self, name):
        return sorted(path for path in (self.root / name / "store/packs").rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A site at which Alice has built the image."""
    root = tmp_path_factory.mktemp("site")
    for above in (root, *root.parents[: len(root.parts) - 2]):
        above.chmod(above.stat().st_mode | 0o011)
    with running(root / "registry") as registry:
        made = Site(root, registry)
        made.alices, _ = made.pull(ALICE, "a")
        yield made


def test_b_builds_from_the_packs_of_a(site):
    assert site.tags() == [path.name for path in site.packs_of("a")]
    before = site.asked()
    assert before == [1, 1]
    bobs, said = site.pull(BOB, "b")
    assert bobs == site.alices
    assert site.asked() == before, "no layer was asked of upstream"
    assert [path.read_bytes() for path in site.packs_of("b")] == [path.read_bytes() for path in site.packs_of("a")]
    assert "not asked again" not in said


def test_a_flipped_byte_costs_only_the_way_to_upstream(site, monkeypatch, capsys):
    (large,) = [path for path in site.packs_of("a") if path.stat().st_size > 100_000]
    copy = site.registry.blob_file(digest_of(large.read_bytes()))
    good = copy.read_bytes()
    monkeypatch.setenv("SIFMAKE_REMOTE_PACKS", site.packs)
    monkeypatch.chdir(site.root)
    for part in (0, 0.4, 0.8, 1):
        at = int(part * (len(good) - 1))
        copy.write_bytes(good[:at] + bytes([good[at] ^ 4]) + good[at + 1 :])
        before, target = sum(site.asked()), site.root / f"{at}.sif"
        monkeypatch.setenv("SIFMAKE_CACHE", str(site.root / f"store-{at}"))
        capsys.readouterr()
        assert main(["pull", str(target), site.image]) == 0
        assert target.read_bytes() == site.alices
        assert capsys.readouterr().err.count("not asked again in this run") == 1
        assert 1 <= sum(site.asked()) - before <= 2
    copy.write_bytes(good)


def manifest(registry, tag, data=None):
    """Read a manifest, or write it."""
    kind = "application/vnd.oci.image.manifest.v1+json"
    url = f"http://{registry.host}/v2/site/packs/manifests/{tag}"
    headers = {"Accept": kind, "Content-Type": kind}
    request = urllib.request.Request(url, data, headers, method="PUT" if data else "GET")
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return answer.read()


def lock_and_push(folder, image, *words):
    (folder / "config").mkdir(exist_ok=True)
    (folder / "config/images.yaml").write_text(json.dumps({"images": {"x": {"from": image}}}))
    for command in (["lock"], ["stage", "pull", "x"], ["cache", "push", *words]):
        assert main(["-q", *command]) == 0


def test_garbage_is_what_no_lock_names(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)

    def collect(*words):
        capsys.readouterr()
        return main(["cache", "gc", "--remote", "--max-age", *words]), capsys.readouterr().err

    with running(tmp_path / "registry") as registry:
        site = Site(tmp_path, registry)
        (tmp_path / "sifmake.yaml").write_text(json.dumps({"store": {"remote": [site.packs]}}))
        lock_and_push(tmp_path, site.image)
        tags = site.tags()
        old = tags[0].replace(tags[0][:8], "00000000")
        document = json.loads(manifest(registry, tags[0]))
        for tag in (old, "an-image-of-others"):
            manifest(registry, tag, json.dumps(document | {"annotations": {"of": tag}}).encode())
        assert collect("30d") == (0, "deleted 0, 1 unused for a shorter time, 2 in use\n")
        assert set(site.tags()) == {*tags, old, "an-image-of-others", "sifmake-unused"}
        status, said = collect("0", "--dry-run")
        assert (status, f"would delete {old}" in said, old in site.tags()) == (0, True, True)
        assert collect("0")[0] == 0
        assert set(site.tags()) == {*tags, "an-image-of-others", "sifmake-unused"}
        status, said = collect("0", "--locks", str(tmp_path / "layout"))
        assert (status, "this folder has no locks" in said) == (2, True)
        lock = tmp_path / "config/locks/x.yaml"
        document = yaml.safe_load(lock.read_text())
        for layer in document["layers"]:
            del layer["diff-id"]
        del document["checksum"]
        lock.write_text(json.dumps({**document, "checksum": checksum(document)}))
        shutil.rmtree(tmp_path / "store")
        status, said = collect("0")
        assert (status, "names no DiffIDs" in said, set(tags) < set(site.tags())) == (1, True, True)


def test_a_registry_without_deletion_says_so(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    with running(tmp_path / "registry", delete=False) as registry:
        blobs = Blobs()
        layout = write_layout(tmp_path / "layout", blobs, {"1": blobs.image(LAYERS[:1]), "2": blobs.image(LAYERS[1:])})
        uri = f"oci://{registry.host}/site/packs"
        for tag in "12":
            lock_and_push(tmp_path, f"oci:{layout}:{tag}", "--remote", uri)
        assert main(["cache", "gc", "--remote", uri, "--max-age", "0"]) == 1
    assert "does not allow to delete manifests (status 405)" in capsys.readouterr().err


def test_a_registry_that_asks_for_tokens(tmp_path, monkeypatch, capsys):
    """Pushing and deleting need more than a token for reading."""
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    with running(tmp_path / "registry", auth="token") as registry:
        blobs = Blobs()
        layout = write_layout(tmp_path / "layout", blobs, {"1": blobs.image(LAYERS[:1]), "2": blobs.image(LAYERS[1:])})
        uri = f"oci://{registry.host}/site/packs"
        capsys.readouterr()
        (tmp_path / "sifmake.yaml").write_text(json.dumps({"store": {"remote": [uri]}}))
        assert main(["pull", "x.sif", f"oci:{layout}:1"]) == 0
        assert capsys.readouterr().err.count("not asked again in this run") == 1, "without a password"
        for name, value in (("REGISTRY", registry.host), ("USERNAME", USER), ("PASSWORD", PASSWORD)):
            monkeypatch.setenv(f"SIFMAKE_DOCKER_{name}", value)
        for tag in "12":
            lock_and_push(tmp_path, f"oci:{layout}:{tag}")
        assert main(["cache", "gc", "--remote", "--max-age", "0"]) == 0
        assert "deleted 1, 0 unused for a shorter time, 1 in use" in capsys.readouterr().err
        scopes = {scope for query in registry.tokens.asked for scope in query["scope"]}
    assert scopes == {f"repository:site/packs:{actions}" for actions in ("pull", "pull,push", "delete")}
