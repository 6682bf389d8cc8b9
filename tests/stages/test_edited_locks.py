"""h57: what people and bots do to the line ``image`` of a lock; the digest that was reviewed is what is built."""

from __future__ import annotations

import json
import re
import threading

import pytest

from sifmake.cli.main import main
from sifmake.project.lock_file import read_lock
from support.images import Blobs, write_layout
from support.layers import file, tar
from support.registry import Answer, FakeRegistry
from support.signing import write_sif


class Project:
    """A project in this folder; its registry has ``app:1``, which has moved on from ``old`` to ``new``."""

    def __init__(self, folder, registry):
        self.folder = folder
        self.registry = registry
        self.lock = folder / "config/locks/app.yaml"
        self.from_ = f"docker://{registry.host}/app:1"
        self.name = f"{registry.host}/app:1"
        self.old, self.middle, self.new = (self.index(content) for content in (b"old", b"middle", b"new"))
        self.configure({"app": {"from": self.from_}})
        registry.tag("app", "1", self.old)
        assert main(["lock"]) == 0
        registry.tag("app", "1", self.new)
        registry.log.clear()

    def index(self, content):
        blobs = self.registry.blobs
        layers = [tar(file("x", content * 100))]
        return blobs.index([blobs.image(layers, platform=f"linux/{arch}") for arch in ("arm64", "amd64")])

    def manifest(self, index):
        return self.registry.blobs.document(index)["manifests"][1]["digest"]

    def configure(self, images):
        (self.folder / "config").mkdir(exist_ok=True)
        (self.folder / "config/images.yaml").write_text(json.dumps({"images": images}))

    def edit(self, old, new):
        text = self.lock.read_text()
        assert re.search(old, text)
        self.lock.write_text(re.sub(old, new, text, count=1))


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    with FakeRegistry() as registry:
        yield Project(tmp_path, registry)


@pytest.mark.parametrize("digest", ["index", "manifest"])
@pytest.mark.parametrize("style", ["", "crlf", "quoted"])
def test_h57_an_edited_digest_is_locked(project, digest, style, capsys):
    wanted = project.middle["digest"] if digest == "index" else project.manifest(project.middle)
    project.edit("@sha256:[0-9a-f]{64}", f"@{wanted}")
    if style == "crlf":
        project.lock.write_bytes(project.lock.read_bytes().replace(b"\n", b"\r\n"))
    elif style == "quoted":
        project.edit('image: "?([^"\n]*)"?', r"image: '\1' # by hand")
    assert main(["stage", "pull", "app"]) == 1
    assert f"was edited ({project.name}@{wanted})" in capsys.readouterr().err
    assert main(["lock", "--check", "app"]) == 3
    assert main(["lock", "app"]) == 0
    assert "what follows from the edited digest changed" in capsys.readouterr().err
    lock = read_lock(project.lock)
    assert (lock.digest, lock.manifest, lock.name) == (wanted, project.manifest(project.middle), project.name)
    assert project.registry.count("HEAD") == project.registry.count("GET", "/manifests/1") == 0, "no tag was asked for"
    assert main(["stage", "pull", "app"]) == 0


def test_h57_a_bots_tag_and_digest_are_refused_until_the_configuration_has_the_tag_too(project, capsys):
    project.registry.tag("app", "2", project.middle)
    project.edit(":1@sha256:[0-9a-f]{64}", f":2@{project.middle['digest']}")
    text = project.lock.read_text()
    assert main(["lock"]) == 1
    said = capsys.readouterr().err
    assert f"was edited to {project.registry.host}/app:2, but config/images.yaml has {project.name}" in said
    assert "write the tag into config/images.yaml too, then run `sifmake lock app`" in said
    assert project.lock.read_text() == text
    project.configure({"app": {"from": f"docker://{project.registry.host}/app:2"}})
    assert main(["lock"]) == 0
    lock = read_lock(project.lock)
    assert (lock.name, lock.digest) == (f"{project.registry.host}/app:2", project.middle["digest"])


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        ("@sha256:" + "0" * 64, "the edited digest cannot be locked"),
        ("@sha256:abc", "'sha256:abc' in 'image' is not a digest"),
        ("@latest", "'latest' in 'image' is not a digest"),
    ],
)
def test_h57_what_cannot_be_locked_is_refused_with_the_reason(project, edit, words, capsys):
    project.edit("@sha256:[0-9a-f]{64}", edit)
    text = project.lock.read_text()
    for command in (["lock", "app"], ["lock", "--check", "app"]):
        assert main(command) == 1
        said = capsys.readouterr().err
        assert words in said
        assert "remove the file" in said
    assert project.lock.read_text() == text


def test_h57_a_digest_that_was_removed_is_asked_for_again(project, capsys):
    project.edit("@sha256:[0-9a-f]{64}", "")
    assert main(["stage", "pull", "app"]) == 1
    assert "run `sifmake lock app`" in capsys.readouterr().err
    assert main(["lock"]) == 0
    assert read_lock(project.lock).digest == project.new["digest"]


@pytest.mark.parametrize("text", ["", "\n", "# nothing\n", "{}"])
def test_h57_an_empty_lock_is_made_again(project, text):
    project.lock.write_text(text)
    assert main(["stage", "pull", "app"]) == 1
    assert main(["lock"]) == 0
    assert read_lock(project.lock).digest == project.new["digest"]


def test_h57_a_line_that_is_gone_is_made_again(project):
    project.edit("image: .*\n", "")
    assert main(["stage", "pull", "app"]) == 1
    assert main(["lock"]) == 0
    assert read_lock(project.lock).digest == project.new["digest"]


@pytest.mark.parametrize("style", ["", "crlf"])
def test_h57_conflict_markers_are_for_people_to_solve(project, style, capsys):
    line = re.search("image: .*\n", project.lock.read_text())[0]
    other = line.replace(project.old["digest"], project.middle["digest"])
    project.edit("image: .*\n", f"<<<<<<< HEAD\n{line}=======\n{other}>>>>>>> bot\n")
    if style == "crlf":
        project.lock.write_bytes(project.lock.read_bytes().replace(b"\n", b"\r\n"))
    text = project.lock.read_bytes()
    for command in (["lock"], ["lock", "--check"], ["stage", "pull", "app"]):
        assert main(command) == 1
        assert "keep one side and delete the markers, then run `sifmake lock app`" in capsys.readouterr().err
    assert project.lock.read_bytes() == text


def test_h57_line_ends_alone_are_no_edit(project):
    project.registry.tag("app", "1", project.old)
    project.lock.write_bytes(project.lock.read_bytes().replace(b"\n", b"\r\n"))
    assert main(["lock", "--check"]) == 0
    assert main(["stage", "pull", "app"]) == 0


def test_h57_a_damaged_lock_still_says_what_was_reviewed(project):
    text = project.lock.read_text()
    project.lock.write_text(text[: text.index("layers:")] + "layers: [\n")
    assert main(["lock"]) == 0
    assert read_lock(project.lock).digest == project.old["digest"]


def test_h57_a_pinned_configuration_refuses_another_digest(project, capsys):
    project.configure({"app": {"from": f"{project.from_}@{project.old['digest']}"}})
    assert main(["lock"]) == 0
    project.edit("@sha256:[0-9a-f]{64}", f"@{project.middle['digest']}")
    assert main(["lock"]) == 1
    assert f"was edited to {project.middle['digest']}, but {project.from_}@{project.old['digest']} has" in (
        capsys.readouterr().err
    )


def test_h57_offline_an_edit_waits_for_the_network(project, capsys):
    project.edit("@sha256:[0-9a-f]{64}", f"@{project.middle['digest']}")
    assert main(["lock", "--offline"]) == 1
    assert "no registry can be asked because the run is offline" in capsys.readouterr().err
    assert project.middle["digest"] in project.lock.read_text()


def test_h57_an_edited_digest_of_a_layout_is_compared(project, tmp_path, capsys):
    blobs = Blobs()
    image, other = (blobs.image([tar(file("x", content))]) for content in (b"1", b"2"))
    write_layout(tmp_path / "layout", blobs, {"1": blobs.index([image])})
    project.configure({"app": {"from": "oci:layout:1"}})
    project.lock.unlink()
    assert main(["lock"]) == 0
    text = project.lock.read_text()
    project.edit("@sha256:[0-9a-f]{64}", f"@{other['digest']}")
    assert main(["lock"]) == 1
    assert f"was edited to {other['digest']}, but oci:layout:1 has " in capsys.readouterr().err
    project.lock.write_text(text.replace("platform: linux/amd64", "platform: linux/386"))
    assert main(["lock"]) == 0
    assert project.lock.read_text() == text


def test_h57_an_edited_digest_of_a_sif_in_a_registry_is_locked(project, tmp_path):
    registry = project.registry
    digests = []
    for number in (1, 2, 3):
        layer = registry.blobs.put(write_sif(tmp_path / f"{number}.sif", groups={1: number}).read_bytes(), SIF_TYPE)
        config = registry.blobs.put(b"{}", "application/vnd.sylabs.sif.config.v1+json")
        image = registry.blobs.image([], layer_descriptors=[layer], manifest_changes={"config": config})
        registry.tag("tool", "1", image)
        digests.append((image["digest"], layer["digest"]))
    project.configure({"app": {"from": f"oras://{registry.host}/tool:1"}})
    project.lock.unlink()
    assert main(["lock"]) == 0
    assert read_lock(project.lock).built_from == digests[2][1]
    project.edit("@sha256:[0-9a-f]{64}", f"@{digests[0][0]}")
    assert main(["lock"]) == 0
    lock = read_lock(project.lock)
    assert (lock.digest, lock.built_from) == digests[0]
    assert main(["stage", "pull", "app"]) == 0


SIF_TYPE = "application/vnd.sylabs.sif.layer.v1.sif"


@pytest.mark.parametrize("locked", [False, True], ids=["without locks", "with locks"])
def test_one_reference_means_one_thing_in_one_run(project, locked):
    """The tag moves each time that it is asked for."""
    images = {f"i{n}": {"from": project.from_, "labels": {"n": str(n)}} for n in range(3)}
    images["arm"] = {"from": project.from_, "platform": "linux/arm64"}
    project.configure(images)
    if locked:
        assert main(["lock"]) == 0
    turn = iter([project.old, project.middle, project.new] * 10)
    guard = threading.Lock()

    def move(_):
        with guard:
            project.registry.tag("app", "1", next(turn))

    for method in ("HEAD", "GET"):
        project.registry.on(method, "/manifests/1", move)
    assert main(["lock"]) == 0
    locks = [read_lock(project.folder / f"config/locks/{name}.yaml") for name in images]
    assert len({lock.digest for lock in locks}) == 1
    assert len({lock.manifest for lock in locks}) == 2, "one for each platform"
    assert main(["lock", "--check"]) in (0, 3)


def test_one_web_address_means_one_file_in_one_run(project, tmp_path):
    files = [write_sif(tmp_path / f"{n}.sif", groups={1: n}).read_bytes() for n in (1, 2, 3)]
    served = iter(files * 10)
    project.registry.on("HEAD", "/t.sif", Answer(405))
    project.registry.on("GET", "/t.sif", lambda _: Answer(200, next(served)))
    project.configure({name: {"from": f"http://{project.registry.host}/t.sif"} for name in ("a", "b", "c")})
    assert main(["lock"]) == 0
    digests = {read_lock(project.folder / f"config/locks/{name}.yaml").digest for name in ("a", "b", "c")}
    assert len(digests) == 1
