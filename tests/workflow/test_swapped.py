"""Another signed file in the place of a project's image verifies, and is refused all the same: the lock says which."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from sifmake.builder.lock_match import check_match
from sifmake.errors import SigningError
from sifmake.project.lock_file import read_lock
from sifmake.project.records import read_record, write_record
from sifmake.sif import DataType, NewObject, open_sif
from sifmake.sif.append import Addition, append_objects, open_for_append
from sifmake.signing import TrustStore, Verdict, sign_file, verify_file
from sifmake.stages.made_files import frame_of
from support.counting_registry import CountingRegistry
from support.images import Blobs
from support.layers import file, tar
from support.project import Folder
from support.runtime import needs_runtime
from support.signing import KeyPair, pem_pair

if TYPE_CHECKING:
    from pathlib import Path

    from sifmake.project.locks import Lock


LABELS = {"org.example.site": "A", "org.opencontainers.image.title": "hello"}
REASONS = {
    "old": "its manifest is sha256:",
    "renamed": "its definition names ",
    "relabelled": "label org.example.site is 'B' instead of 'A'",
    "unlabelled": "label org.example.site is missing instead of 'A'",
    "more labels": "label org.example.more is 'x' instead of missing",
    "other compression": "it is compressed with zstd, the lock says gzip:6",
    "other signer": "it is signed by SHA256:",
    "two groups": "it has the object groups 1, 2, only group 1 was expected",
}


@dataclass
class Made:
    """A built project, and signed files that could take the place of its image.

    Attributes:
        project: The project; ``images/app.sif`` is as its lock says.
        others: The files by case.
        pair: The project's key.
    """

    project: Folder
    others: dict[str, Path]
    pair: KeyPair


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("swapped")
    project = Folder(folder / "project", folder / "home")
    pair, second = (pem_pair(folder, kind) for kind in ("ed25519", "secp256r1"))
    (project.root / "config/keys").mkdir(parents=True)
    for key in (pair, second):
        shutil.copy(key.public, project.root / "config/keys")
    project.config |= {"key": str(pair.secret), "require-signature": True}
    others = {name: folder / f"{name}.sif" for name in REASONS}
    with CountingRegistry(Blobs()) as registry:
        project.config["registries"] = {registry.host: {"plain-http": True}}
        source = f"docker://{registry.host}/app:1"
        project.images = {
            "app": {"from": source, "labels": LABELS},
            "renamed": {"from": f"docker://{registry.host}/copy:1", "labels": LABELS},
            "relabelled": {"from": source, "labels": LABELS | {"org.example.site": "B"}},
            "unlabelled": {"from": source},
            "more labels": {"from": source, "labels": LABELS | {"org.example.more": "x"}},
            "other compression": {"from": source, "labels": LABELS, "compression": "zstd"},
            "plain": {"from": source, "labels": LABELS, "sign": False},
        }
        project.images = {name.replace(" ", "-"): image for name, image in project.images.items()}
        project.write()
        for text in (b"old\n", b"new\n"):
            image = registry.blobs.image([tar(file("which", text))], config={"Labels": {"own": "1"}})
            registry.tags["app:1"] = registry.tags["copy:1"] = image
            project.build("doit")
            if text == b"old\n":
                shutil.copy(project.target("app"), others["old"])
    for name in project.images.keys() - {"app", "plain"}:
        shutil.copy(project.target(name), others[name.replace("-", " ")])
    sign_file(project.target("plain"), others["other signer"], second.signer)
    shutil.copy(project.target("plain"), others["two groups"])
    with open_for_append(others["two groups"], others["two groups"]) as sif:
        append_objects(sif, [Addition(NewObject(DataType.GENERIC, 5, "more", group=2), b"other")])
    sign_file(others["two groups"], others["two groups"], pair.signer)
    return Made(project, others, pair)


@pytest.fixture
def project(made: Made, tmp_path: Path) -> Folder:
    """A copy of the built project that a test may spoil."""
    root = shutil.copytree(made.project.root, tmp_path / "project")
    return Folder(root, made.project.home, made.project.config, made.project.images)


def lock_of(project: Folder) -> Lock:
    return read_lock(project.root / "config/locks/app.yaml")


def trust_of(project: Folder) -> TrustStore:
    return TrustStore.load([project.root / "config/keys"])


def check(path: Path, project: Folder, lock: Lock) -> None:
    found = verify_file(path, trust_of(project))
    assert found.verdict is Verdict.VERIFIED
    with open_sif(path) as sif:
        check_match(sif, found, lock)


def swap(project: Folder, other: Path) -> None:
    """Put another file in the place of the image, with a receipt that fits: who can swap one can swap both."""
    shutil.copy(other, project.target("app"))
    forge(project, "publish", sha256=digest_of(other), size=other.stat().st_size)


def digest_of(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"


def forge(project: Folder, stage: str, **result: object) -> None:
    """Write a record again with other results and a checksum that fits."""
    path = project.root / f"results/app/{stage}.json"
    record = read_record(path)
    assert record is not None
    write_record(path, stage, record["key"], record["result"] | result)


def test_the_image_itself_is_the_one_of_its_lock(made: Made, project: Folder) -> None:
    check(project.target("app"), project, lock_of(project))
    for name in ("renamed", "relabelled", "unlabelled", "more-labels", "other-compression"):
        check(project.target(name), project, read_lock(project.root / f"config/locks/{name}.yaml"))
    assert set(made.others) == set(REASONS)


@pytest.mark.parametrize("case", REASONS)
def test_every_difference_that_a_signature_covers_is_named(made: Made, project: Folder, case: str) -> None:
    with pytest.raises(SigningError) as caught:
        check(made.others[case], project, lock_of(project))
    assert REASONS[case] in str(caught.value)
    assert "the file is signed but is not the image of its lock" in caught.value.what
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("case", REASONS)
def test_no_stage_and_no_seed_takes_another_signed_file(made: Made, project: Folder, tmp_path: Path, case: str) -> None:
    swap(project, made.others[case])
    text = project.run("sifmake", "seed", "--snakemake-prefix", str(tmp_path / "prefix"), "app", status=1)
    assert REASONS[case] in text
    assert not (tmp_path / "prefix").exists()


@pytest.mark.parametrize("case", ["old", "two groups"])
def test_the_stage_verify_looks_at_the_lock(made: Made, project: Folder, case: str) -> None:
    swap(project, made.others[case])
    (project.root / "results/app/verify.json").unlink()
    assert REASONS[case] in project.run("sifmake", "stage", "verify", "app", status=1)


@pytest.mark.parametrize("case", ["old", "two groups"])
def test_a_scheduled_rebuild_looks_at_the_lock(made: Made, project: Folder, case: str) -> None:
    """To the engine everything is up to date."""
    swap(project, made.others[case])
    project.environ["SIFMAKE_OFFLINE"] = "1"
    assert REASONS[case] in project.run("sifmake", "rebuild", "--no-lock", status=1)


@pytest.mark.parametrize("case", REASONS)
def test_check_mode_believes_no_record(made: Made, project: Folder, case: str) -> None:
    """The record beside the file fits it: who can swap one can swap both."""
    good = project.target("app").read_bytes()
    swap(project, made.others[case])
    project.environ["SIFMAKE_LOCKED"] = "1"
    assert REASONS[case] in project.snakemake("-n", "--config", "check=1", status=1)
    assert REASONS[case] in project.doit("check=1", "outdated")
    project.doit("run", "check=1", "publish:app")
    assert project.target("app").read_bytes() == good
    assert "Nothing to be done" in project.snakemake("-n", "--config", "check=1")


def test_publish_verifies_what_it_publishes(made: Made, project: Folder) -> None:
    """Between the stages verify and publish, another file of the same size takes the place, and the records fit it."""
    signed, other = project.root / "results/app/signed.sif", made.others["old"]
    good, size = project.target("app").read_bytes(), other.stat().st_size
    (project.root / "results/app/publish.json").unlink()
    project.target("app").unlink()
    shutil.copy(other, signed)
    forge(project, "sign", size=size, frame=frame_of(signed))
    forge(project, "verify", size=size, sha256=digest_of(signed))
    project.run("sifmake", "stage", "publish", "app", status=None)
    target = project.target("app")
    assert not target.exists() or target.read_bytes() == good


@needs_runtime
@pytest.mark.parametrize("case", REASONS)
def test_another_signed_file_is_not_run_in_its_place(made: Made, project: Folder, case: str) -> None:
    swap(project, made.others[case])
    words = ["sifmake", "exec", "--runtime", "builtin", "images/app.sif", "/bin/true"]
    assert REASONS[case] in project.run(*words, status=255)
    target = project.target("app")
    target.unlink()
    target.symlink_to(made.others[case])
    assert REASONS[case] in project.run(*words, status=255)


@needs_runtime
def test_a_link_to_the_image_is_the_image(made: Made, project: Folder) -> None:
    swap(project, made.others["old"])
    os.symlink("images/app.sif", project.root / "link.sif")
    words = ["sifmake", "exec", "--runtime", "builtin", "link.sif", "/bin/true"]
    assert REASONS["old"] in project.run(*words, status=255)


def test_images_of_an_earlier_format_keep_their_labels(made: Made, project: Folder) -> None:
    """Which labels a version adds by itself is that version's affair; those of the configuration are not."""
    path = project.root / "config/locks/app.yaml"
    lock = read_lock(path)
    older = lock.with_build(lock.build._replace(formats={**lock.build.formats, "sif": 0}))
    check(made.others["more labels"], project, older)
    with pytest.raises(SigningError, match=r"label org\.example\.site"):
        check(made.others["relabelled"], project, older)
