"""Layers of build steps from a remote store: taken if a lock or a trusted key says that the step gave them."""

import shutil

import pytest

from sifmake.errors import StepsDifferError
from sifmake.project.configuration import Configuration
from sifmake.project.steps_lock import StepsLockUse, read_steps_lock
from sifmake.remote.settings import RemoteSettings
from support.building import Works, needs_scripts
from support.definition_golden import text_in
from support.registry import Answer, FakeRegistry, Uploads, error
from support.signing import pem_pair

RANDOM = "%post\n    cat /proc/sys/kernel/random/uuid > /random\n"


@pytest.fixture(scope="module")
def works(tmp_path_factory):
    return Works(tmp_path_factory.mktemp("works"))


class Site:
    """A registry, and machines with stores of their own that share it."""

    def __init__(self, works, registry, monkeypatch):
        self.works = works
        self.registry = registry
        self.lock = StepsLockUse(works.folder / "tool.steps.yaml")
        self._patch = monkeypatch

    def machine(self, name, *, push=False, **settings):
        """Go to a machine; return its configuration."""
        shutil.rmtree(self.works.folder / name, ignore_errors=True)
        self._patch.setenv("SIFMAKE_CACHE", str(self.works.folder / name))
        self._patch.setenv("SIFMAKE_TMPDIR", str(self.works.folder))
        remote = RemoteSettings(f"oci://{self.registry.host}/packs", push=push)
        return Configuration(remotes=(remote,), **settings)

    def build(self, configuration, use=None):
        """Build; return how many steps ran and were found, and what the step wrote."""
        counts = self.works.build_with_lock(RANDOM, use, configuration=configuration)
        return counts, text_in(self.works.folder / "out.sif", "/random")

    def step(self):
        (step,) = read_steps_lock(self.lock.path).steps
        return step


@pytest.fixture
def site(works, monkeypatch):
    monkeypatch.chdir(works.folder)
    (works.folder / "tool.steps.yaml").unlink(missing_ok=True)
    with FakeRegistry() as registry:
        Uploads(registry)
        yield Site(works, registry, monkeypatch)


@needs_scripts
def test_a_note_counts_where_the_lock_names_the_same_result(site):
    counts, made = site.build(site.machine("a", push=True), site.lock)
    assert counts == (1, 0)
    assert site.registry.has_tag("packs", f"step-{site.step().key}")
    locked = StepsLockUse(site.lock.path, locked=True, refuse=True)
    assert site.build(site.machine("b"), locked) == ((0, 1), made)
    counts, other = site.build(site.machine("c"))
    assert (counts, other == made) == ((1, 0), False), "nothing says that the step gave this"
    assert not site.works.told.said


@needs_scripts
def test_a_note_counts_where_a_trusted_key_signed_it(site, tmp_path):
    keys = pem_pair(tmp_path)
    _, made = site.build(site.machine("a", push=True, key=str(keys.secret), trusted_keys=(keys.public,)))
    assert site.build(site.machine("b", trusted_keys=(keys.public,))) == ((0, 1), made)
    (tmp_path / "other").mkdir()
    counts, _ = site.build(site.machine("c", trusted_keys=(pem_pair(tmp_path / "other").public,)))
    assert counts == (1, 0)


@needs_scripts
def test_a_note_on_another_layer_and_a_store_that_fails_cost_only_the_run(site):
    """Somebody who may push replaces the note by that of a build of their own."""
    site.build(site.machine("a", push=True), site.lock)
    lock = site.lock.path.read_bytes()
    site.lock.path.unlink()
    site.build(site.machine("evil", push=True), site.lock)
    site.lock.path.write_bytes(lock)
    counts, _ = site.build(site.machine("b"), site.lock)
    assert counts == (1, 0)
    site.registry.on("GET", "/manifests/step-", error(500, "UNKNOWN"))
    counts, _ = site.build(site.machine("c"), site.lock)
    assert counts == (1, 0)
    assert [text for text in site.works.told.said if "not asked again" in text]


def differing(site, machine):
    """Run the step again, on a machine that has only the lock; return what the error and the warnings say."""
    locked = StepsLockUse(site.lock.path, locked=True)
    with pytest.raises(StepsDifferError) as caught:
        site.works.build_with_lock(RANDOM, locked, configuration=site.machine(machine), use_cache=False)
    return str(caught.value), site.works.told.said


@needs_scripts
def test_what_differs_is_named_where_only_the_lock_is_known(site):
    site.build(site.machine("a", push=True), site.lock)
    files = site.step().files.removeprefix("sha256:")
    assert site.registry.has_tag("packs", f"files-{files}")
    what, said = differing(site, "b")
    assert "gave 1 file(s) that differ from the lock (/random: content)" in what
    assert said == ["the step `cat /proc/sys/kernel/random/uuid > /random`: /random: content"]
    site.registry.on("GET", f"/blobs/sha256:{files}", Answer(200, b"sifmake files 1\n"))
    what, said = differing(site, "c")
    assert "the list of the locked files is not in the store" in what
    (lie,) = said
    assert "not asked again" in lie
