"""A project by the API: started, locked, built, rebuilt, seeded; and the store and the registries beside it."""

from __future__ import annotations

import fcntl
import re
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

import sifmake
from support.hello import HELLO
from support.project import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

    from support.registry import FakeRegistry


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = sifmake.start_project(tmp_path / "project").root
    (root / "config/images.yaml").write_text(f"images: {{hello: {{from: '{HELLO}'}}}}")
    return root


def test_from_nothing_to_a_seeded_image(project: Path, tmp_path: Path) -> None:
    (outcome,) = sifmake.lock(root=project, check=True)
    assert (outcome.name, outcome.state, outcome.error) == ("hello", "changed", None)
    assert not outcome.file.exists()
    (outcome,) = sifmake.lock("hello", root=project)
    assert outcome.file == project / "config/locks/hello.yaml"
    assert outcome.file.exists()
    assert [sifmake.run_stage(stage, "hello", root=project) for stage in sifmake.STAGES] == [True] * 7
    assert [sifmake.run_stage(stage, "hello", root=project) for stage in sifmake.STAGES] == [False] * 7
    assert sifmake.run_stage("flatten", "hello", root=project, force=True)
    seeded = sifmake.seed(tmp_path / "prefix", root=project)
    assert {file.image for file in seeded} == {HELLO}
    assert all(file.path.samefile(project / "images/hello.sif") for file in seeded)
    assert not sifmake.diff(outcome.file, outcome.file)


def test_a_failure_is_the_outcome_of_its_image(project: Path, tmp_path: Path) -> None:
    (project / "config/images.yaml").write_text(
        f"images: {{bad: {{from: 'oci:{tmp_path}/none:1'}}, hello: {{from: '{HELLO}'}}}}"
    )
    bad, good = sifmake.lock(root=project)
    assert isinstance(bad.error, sifmake.SifmakeError)
    assert (bad.state, good.state) == ("failed", "changed")
    result = sifmake.rebuild(project)
    assert [(image.name, image.state) for image in result.images] == [("bad", "failed"), ("hello", "rebuilt")]
    assert result.has_failed


def test_wrong_names(project: Path) -> None:
    with pytest.raises(sifmake.errors.UsageError, match="one of pull, steps, flatten"):
        sifmake.run_stage("build", "hello", root=project)
    with pytest.raises(sifmake.errors.LockError):
        sifmake.run_stage("pull", "hello", root=project)
    with pytest.raises(sifmake.errors.ConfigError, match="hallo"):
        sifmake.lock(["hallo"], root=project)


def test_two_rebuilds_at_once(project: Path) -> None:
    (project / "results").mkdir()
    with (project / "results/.rebuild.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(sifmake.errors.BusyError, match="another rebuild"):
            sifmake.rebuild(project)
    assert [image.state for image in sifmake.rebuild(project).images] == ["rebuilt"]


def test_a_rebuild_signs_nothing_with_the_development_key(project: Path) -> None:
    (project / "sifmake.yaml").write_text("key: development\n")
    (image,) = sifmake.rebuild(project).images
    assert (image.state, image.stage) == ("failed", "sign")
    assert "development key" in image.error
    assert sifmake.run_stage("sign", "hello", root=project), "a person may"


def test_the_store(project: Path, tmp_path: Path) -> None:
    sifmake.lock(root=project)
    sifmake.run_stage("pull", "hello", root=project)
    cache = sifmake.Cache(project)
    assert repr(cache) == f"Cache(folder='{tmp_path}/store')"
    files = cache.files()
    assert {file.kind for file in files} >= {"pack", "blob"}
    assert all(file.path.stat().st_size == file.size for file in files)
    done = cache.export_archive(tmp_path / "hello.tar", "hello")
    assert done.size == (tmp_path / "hello.tar").stat().st_size
    with pytest.raises(sifmake.errors.TargetExistsError, match="force=True"):
        cache.export_archive(tmp_path / "hello.tar")
    assert not cache.collect(max_age=timedelta(days=1)).removed
    with pytest.raises(sifmake.errors.UsageError, match="max_size or max_age"):
        cache.collect()
    would = cache.clean(dry_run=True)
    assert cache.files() == files
    gone = cache.clean()
    assert (
        {file.name for file in gone.removed} == {file.name for file in would.removed} == {file.name for file in files}
    )
    assert (gone.left, gone.size, cache.files()) == (0, sum(file.size for file in files), ())
    taken = cache.import_archive(tmp_path / "hello.tar")
    assert len(taken.new) == done.files
    pack = next(file for file in cache.files() if file.kind == "pack")
    pack.path.write_bytes(b"damaged")
    found = cache.verify()
    assert (found.damaged, bool(found)) == (1, False)
    assert cache.verify()


def test_a_dash_is_a_file(project: Path, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    sifmake.pull(HELLO, "hello.sif")
    sifmake.Cache().export_archive("-")
    sifmake.Keyring().new_pair("mine")
    sifmake.Keyring().export_file("mine", "-", force=True)
    assert b"PUBLIC KEY" in (tmp_path / "-").read_bytes()
    assert capfdbinary.readouterr().out == b""


def test_keys(tmp_path: Path) -> None:
    ring = sifmake.Keyring()
    assert repr(ring) == f"Keyring('{tmp_path}/configuration')"
    pair = ring.new_pair("mine")
    (private,), (public,) = ring.private_keys(), ring.trusted_keys()
    assert private == sifmake.PrivateKeyFile("mine", protected=False, path=pair.private)
    assert (public.name, public.path, public.revoked, public.expires) == ("mine", pair.public, False, None)
    ring.export_file("mine", tmp_path / "secret.pem", private=True)
    assert (tmp_path / "secret.pem").stat().st_mode & 0o777 == 0o600
    with pytest.raises(sifmake.errors.TargetExistsError):
        ring.export_file("mine", tmp_path / "secret.pem", private=True)
    other = sifmake.Keyring(tmp_path / "other")
    assert other.import_file(tmp_path / "secret.pem").private == tmp_path / "other/keys/secret/secret.pem"
    assert other.import_file(pair.public).trusted == (public.fingerprint,)
    assert ring.remove(public.fingerprint) == pair.public
    assert ring.trusted_keys() == ()
    with pytest.raises(sifmake.errors.KeyFileError, match="no such private key"):
        ring.export("../mine", private=True)


def test_a_login_that_is_refused_is_not_kept(registry: FakeRegistry, tmp_path: Path) -> None:
    with pytest.raises(sifmake.errors.UsageError, match="not the name of a registry"):
        sifmake.login("no registry", "me", "secret")
    with pytest.raises(sifmake.errors.UsageError, match="empty"):
        sifmake.login(registry.host, "me", "")
    registry.close()
    with pytest.raises(sifmake.errors.RegistryError, match="login"):
        sifmake.login(registry.host, "me", "secret", plain_http=True, auth_file=tmp_path / "auth.json")
    assert not (tmp_path / "auth.json").exists()


def test_the_program_in_the_readme_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```", (REPOSITORY / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert len(program.splitlines()) <= 10
    assert "docker://alpine:3.20" in program
    exec(compile(program.replace("docker://alpine:3.20", HELLO), "README.md", "exec"), {})  # noqa: S102
    assert "SHA256:" in capsys.readouterr().out
