"""Images of a project that are built: what each change runs again, and what is refused."""

from __future__ import annotations

import errno
import json
import os
import random
import shutil
import subprocess
import sys
import threading
from datetime import datetime, timedelta
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

import sifmake
from sifmake.definition.host_folder import HostFolder
from sifmake.errors import ConfigError, LockError, SifmakeError, SigningError, SourceError
from sifmake.project.stage_table import STAGE_NAMES
from sifmake.stages.lock_check import check_lock
from support.building import needs_scripts, root_tar
from support.definition_projects import Definitions
from support.hello import HELLO, LAYOUT

LATER = ["flatten", "sif", "sign", "verify", "publish"]
SCRATCH = "Bootstrap: scratch"


@pytest.fixture
def project(tmp_path):
    """A project without scripts: its images are made of copied files."""
    made = Definitions(tmp_path / "p")
    (made.root / "src").mkdir()
    (made.root / "src/tool").write_text("one\n")
    (made.root / "src/tool").chmod(0o755)
    made.define("tool", "%files\n    src /opt\n%labels\n    a b", SCRATCH, sign=False)
    return made


def ready(project, *names):
    assert "" not in (changed := project.lock(*names)).values(), changed
    project.build(*names)
    return project


def test_an_image_is_built_locked_and_published(project):
    ready(project)
    assert project.build("tool") == []
    assert set(project.lock().values()) == {""}
    text = project.lock_text("tool")
    assert "\ndefinition: sha256:" in text
    assert "\n  - {source: src, digest: sha256:" in text
    shown = sifmake.inspect(project.root / "images/tool.sif")
    assert shown.labels["a"] == "b"


def test_what_is_pulled_has_an_empty_stage_steps_and_the_lock_that_it_had(project):
    project.declare("hello", HELLO, sign=False)
    ready(project, "hello")
    assert "steps:" not in project.lock_text("hello")
    record = json.loads((project.root / "results/hello/steps.json").read_bytes())
    assert (record["key"], record["result"]) == ({}, {"layers": []})
    modules = "import sys; print(*[m for m in sys.modules if m.startswith(('sifmake.definition', 'sifmake.rootless'))])"
    code = f"import sys\nfrom sifmake.doit import *\nfrom sifmake.doit import _tasks\n{modules}"
    one = {"images": {"hello": project.images["hello"]}}
    (project.root / "config/images.yaml").write_text(json.dumps(one))
    run = [
        sys.executable,
        "-c",
        f"{code}; list(task_images()); [_tasks().is_current(s, 'hello') for s in {STAGE_NAMES}]",
    ]
    done = subprocess.run(
        [*run[:2], f"{run[2]}; {modules}"], cwd=project.root, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == []


@pytest.mark.parametrize(
    ("change", "stages"),
    [
        (lambda p: (p.root / "tool.def").write_text(f"{SCRATCH}\n\n%files\n    src /opt\n"), ["steps", *LATER]),
        (lambda p: (p.root / "src/tool").write_text("two\n"), ["steps", *LATER]),
        (lambda p: (p.root / "src/tool").chmod(0o644), ["steps", *LATER]),
        (lambda p: (p.root / "src/new").write_text(""), ["steps", *LATER]),
        (lambda p: os.utime(p.root / "src/tool", (1, 1)), []),
        (lambda p: p.declare("tool", "./tool.def", sign=False, labels={"x": "y"}), LATER),
        (lambda p: p.declare("tool", "./tool.def", sign=False, network="none"), ["steps", *LATER]),
    ],
)
def test_each_change_runs_what_it_must(project, change, stages):
    ready(project)
    change(project)
    project.lock()
    assert project.build("tool") == stages
    assert project.build("tool") == []


def test_a_changed_input_in_a_locked_run_asks_for_a_new_lock(project):
    ready(project)
    good = project.sif("tool")
    where = r"config/locks/tool.yaml: the lock is out of date: %s; run `sifmake lock tool`"
    for path, text, what in (
        (project.root / "src/tool", "two\n", "the files src changed"),
        (project.root / "tool.def", f"{SCRATCH}\n%files\n    src /opt\n", "the definition, the files src changed"),
    ):
        path.write_text(text)
        with pytest.raises(LockError, match=where % what):
            check_lock(project.open(locked=True), "tool")
        (project.root / "results/tool/steps.json").unlink(missing_ok=True)
        with pytest.raises(LockError, match=where % what):
            project.build("tool", stages=("steps",), locked=True)
    assert project.sif("tool") == good
    assert project.lock()["tool"] == "the definition, the files src changed"


def test_a_file_that_changes_during_the_build_fails_it(project, monkeypatch):
    from sifmake.stages import definition_session

    project.lock()
    real = definition_session.build_stages

    def build_stages(*args):
        built = real(*args)
        (project.root / "src/tool").write_text("changed\n")
        return built

    monkeypatch.setattr(definition_session, "build_stages", build_stages)
    with pytest.raises(LockError, match="a file that the definition copies changed while it was copied"):
        project.build("tool")
    assert not (project.root / "results/tool/steps.json").exists()


@pytest.mark.parametrize("part", ["tree/etc/motd", "root.tar", "b/rootfs/etc/motd", "b/config.json", "old.sif"])
def test_a_base_that_changes_after_it_was_compared_fails_the_build(project, monkeypatch, part):
    from sifmake.stages import definition_session

    ready(project, "tool")
    shutil.copy(project.root / "images/tool.sif", project.root / "old.sif")
    for folder in ("tree", "b/rootfs"):
        (project.root / folder / "etc").mkdir(parents=True)
        (project.root / folder / "etc/motd").write_text("hi\n")
    (project.root / "root.tar").write_bytes(root_tar("etc", "etc/motd=hi\n"))
    (project.root / "b/config.json").write_text('{"root": {"path": "rootfs"}, "process": {"args": ["/x"]}}')
    name = part.partition("/")[0]
    if name == "b":
        project.declare("x", "bundle:b", sign=False)
    else:
        project.define("x", "", f"Bootstrap: localimage\nFrom: {name}", sign=False)
    project.lock("x")
    real, path = definition_session.build_stages, project.root / part

    def build_stages(*args):
        data, facts = path.read_bytes(), path.stat()
        path.write_bytes(data.replace(b"hi\n", b"ho\n").replace(b"/x", b"/y"))
        os.utime(path, ns=(facts.st_atime_ns, facts.st_mtime_ns))
        return real(*args)

    monkeypatch.setattr(definition_session, "build_stages", build_stages)
    with pytest.raises(LockError, match=r"the base \S+ changed while it was read; run `sifmake lock x`"):
        project.build("x", stages=("pull", "steps"))
    assert not (project.root / "results/x/steps.json").exists()


def test_what_is_built_is_the_definition_that_was_compared(project, monkeypatch):
    from sifmake.stages import definition_session

    project.lock()
    real, path = definition_session.check_inputs, project.root / "tool.def"

    def check_inputs(*args):
        found = real(*args)
        path.write_text(path.read_text().replace("a b", "a other"))
        return found

    monkeypatch.setattr(definition_session, "check_inputs", check_inputs)
    project.build("tool", stages=("pull", "steps", "flatten", "sif"))
    assert sifmake.inspect(project.root / "results/tool/unsigned.sif").labels["a"] == "b"


@pytest.mark.parametrize(
    ("header", "sections"),
    [
        (SCRATCH, "%files\n    ../secret /x"),
        (SCRATCH, "%files\n    link /x"),
        (SCRATCH, "%files\n    {outside}/secret /x"),
        (SCRATCH, "%files\n    ~/secret /x"),
        (SCRATCH, "%files\n    folder/* /x"),
        ("Bootstrap: localimage\nFrom: ../secret", ""),
        ("Bootstrap: localimage\nFrom: link", ""),
        ("Bootstrap: oci\nFrom: ../layout:tag", ""),
        ("Bootstrap: docker-archive\nFrom: link", ""),
        (SCRATCH, "%files\n    out/* /x"),
        (SCRATCH, "%files\n    ../* /x"),
        ("Bootstrap: oci\nFrom: index", ""),
        ("Bootstrap: oci\nFrom: blobs", ""),
        ("Bootstrap: oci\nFrom: blob", ""),
    ],
)
def test_definitions_read_nothing_outside_the_project(project, monkeypatch, header, sections):
    outside = project.root.parent
    (outside / "secret").write_text("secret")
    (project.root / "link").symlink_to("../secret")
    (project.root / "folder").mkdir()
    (project.root / "folder/link").symlink_to("../../secret")
    (outside / "of-others").mkdir()
    (outside / "of-others/file").touch()
    (project.root / "out").symlink_to("../of-others")
    links = {"index": "index.json", "blobs": "blobs", "blob": "blobs/sha256/link"}
    for name, link in links.items() if "Bootstrap: oci" in header else ():
        layout = project.root / name
        shutil.copytree(LAYOUT, layout)
        if name != "blob":
            (layout / link).rename(layout / "real")
        (layout / link).symlink_to(outside / "secret")
    monkeypatch.setenv("HOME", str(outside))
    project.define("tool", sections.format(outside=outside), header, sign=False)
    error = project.lock("tool")["tool"]
    assert "outside the" in error, error
    assert "tool.def:" in error
    assert "; move it into the project, or allow its folder: SIFMAKE_ALLOW_FILES=" in error
    assert not (project.root / "config/locks/tool.yaml").exists()
    if SCRATCH in header:
        assert "outside" not in project.lock("tool", allow_files=(outside,))["tool"]


@pytest.mark.parametrize(
    "source", ["../out.def", "./link.def", "../tree/", "bundle:../tree", "bundle:inner", "bundle:linked"]
)
def test_what_is_built_from_is_below_the_project(project, source):
    shutil.copy(project.root / "tool.def", project.root.parent / "out.def")
    (project.root.parent / "tree").mkdir()
    (project.root / "link.def").symlink_to("../out.def")
    (project.root / "inner").mkdir()
    (project.root / "inner/config.json").write_text(json.dumps({"root": {"path": "../../tree"}}))
    (project.root / "linked/rootfs").mkdir(parents=True)
    (project.root.parent / "secret").write_text(json.dumps({"root": {"path": "rootfs"}, "process": {"env": ["A=b"]}}))
    (project.root / "linked/config.json").symlink_to("../../secret")
    project.declare("x", source, sign=False)
    assert "is outside the project's folder" in project.lock("x")["x"]


@pytest.mark.parametrize(
    ("source", "hint"),
    [
        (".", "name the files and folders to copy one by one"),
        ("*", "name the files and folders to copy one by one"),
        ("config", "name the files and folders to copy one by one"),
        ("images/tool.sif", "name the files and folders to copy one by one"),
        ("./", "put the root file system into a folder of its own"),
        ("bundle:own", "put the root file system into a folder of its own"),
    ],
)
def test_what_builds_write_is_not_copied(project, source, hint):
    ready(project)
    (project.root / "own").mkdir()
    (project.root / "own/config.json").write_text(json.dumps({"root": {"path": ".."}}))
    if "own" in hint:
        project.declare("x", source, sign=False)
    else:
        project.define("x", f"%files\n    {source} /opt/src\n", SCRATCH, sign=False)
    assert project.lock("x")["x"].endswith(f", so no lock would fit it; {hint}")
    project.define("x", "%files\n    config/images.yaml /\n    s* /opt/\n    *.def /opt/\n", SCRATCH, sign=False)
    ready(project, "x")


@pytest.mark.parametrize("section", ["pre", "setup"])
def test_sections_that_run_on_this_machine_are_refused(project, section):
    project.define("tool", f"%{section}\n    touch {project.root}/ran", SCRATCH)
    error = project.lock("tool")["tool"]
    assert f"tool.def:3: %{section} runs commands on this machine, outside the image; read it, then allow it" in error
    assert not (project.root / "ran").exists()
    assert f"%{section} runs on this machine at every build" in "".join(
        project.lock("tool", allow_host_sections=True) and project.told.lines
    )
    assert not (project.root / "ran").exists()
    with pytest.raises(LockError, match=f"an image with %{section}, which runs on this machine, cannot be locked"):
        check_lock(project.open(locked=True, allow_host_sections=True), "tool")
    with pytest.raises(ConfigError, match="outside the image; read it"):
        project.build("tool")


def test_what_runs_on_this_machine_runs_in_every_build(project):
    counter = project.root.parent / "count"
    project.define("tool", f"%pre\n    echo >>{counter}; cp {counter} src/made\n\n%files\n    src /opt", SCRATCH)
    project.declare("tool", "./tool.def", sign=False)
    project.lock(allow_host_sections=True)
    assert "files:" not in project.lock_text("tool")
    assert "host: pre" in project.lock_text("tool")
    before = b""
    for count in (1, 2):
        assert project.build("tool", allow_host_sections=True)[-5:] == LATER
        assert counter.read_text() == "\n" * count
        assert project.sif("tool") != before
        before = project.sif("tool")
    (project.root / "tool.def").write_text(f"{SCRATCH}\n\n%pre\n    echo >>{counter}\n\n%files\n    src /opt\n")
    project.lock(allow_host_sections=True)
    project.build("tool", allow_host_sections=True)
    for stage in STAGE_NAMES:  # the layers are the same, so only the stage itself has work
        assert project.build("tool", stages=(stage,), allow_host_sections=True) == [stage] * (stage == "steps")
    assert counter.read_text() == "\n" * 4


def test_names_in_any_encoding_are_locked(project):
    names = [os.fsdecode(b"caf\xe9"), "\U0001f389", "a, b: c"]
    for name in names:
        (project.root / "src" / name).write_text(name, errors="surrogateescape")
    (project.root / os.fsdecode(b"tree\xe9")).mkdir()
    lines = "\n".join(f'    "src/{name}" /' for name in names)
    header = os.fsdecode(b"Bootstrap: localimage\nFrom: tree\xe9")
    (project.root / "tool.def").write_text(f"{header}\n%files\n{lines}\n", errors="surrogateescape")
    ready(project)
    lock = project.root / "config/locks/tool.yaml"
    lock.write_text(f"{lock.read_text()}# edited\n")
    assert r'source: "src/caf\\xe9"' in lock.read_text()
    assert (project.build("tool", locked=True), project.lock()) == ([], {"tool": ""})


def test_a_folder_with_any_name_may_be_a_project(tmp_path):
    made = Definitions(tmp_path / os.fsdecode(b"p\xe9: \n$x"))
    made.define("tool", "%files\n    tool.def /x", SCRATCH, sign=False)
    assert ready(made).build("tool") == []


def test_a_matrix_makes_images_of_one_definition(project):
    del project.images["tool"]
    settings = {"sign": False, "build-args": {"DEST": ["opt", "srv"]}}
    project.define("tool", "%files\n    src /{{ DEST }}/", SCRATCH, **settings)
    ready(project)
    assert project.sif("tool_opt") != project.sif("tool_srv")
    assert "arguments:\n  DEST: srv\n" in project.lock_text("tool_srv")
    project.images["tool"]["build-args"]["OTHER"] = "x"
    project.declare("last", "./tool.def", **{"build-args": {"DEST": "x", "OTHER": "y"}})
    error = project.lock("tool_opt")["tool_opt"]
    assert "config/images.yaml:1: images.tool: no {{ }} of ./tool.def uses the build argument OTHER" in error


def test_root_file_systems_are_bases_whatever_their_times(project):
    tree = project.root / "tree"
    (tree / "etc").mkdir(parents=True)
    (tree / "etc/motd").write_text("hi\n")
    (project.root / "root.tar").write_bytes(root_tar("etc", "etc/motd=hi\n"))
    shutil.copytree(tree, project.root / "b/rootfs")
    (project.root / "b/config.json").write_text(json.dumps({"root": {"path": "rootfs"}, "process": {"args": ["/x"]}}))
    for name, source in (("tree", "./tree/"), ("archive", "./root.tar"), ("bundle", "bundle:b")):
        project.declare(name, source, sign=False)
    names = ("tree", "archive", "bundle")
    ready(project, *names)
    before = [project.sif(name) for name in names]
    for path in (tree / "etc/motd", tree, project.root / "b/rootfs/etc"):
        os.utime(path, (5, 5))
    assert set(project.lock(*names).values()) == {""}
    for name in names:
        shutil.rmtree(project.root / "results" / name)
    shutil.rmtree(project.root.parent / "store")
    project.build(*names)
    assert [project.sif(name) for name in names] == before
    (tree / "etc/motd").write_text("ho\n")
    assert project.lock("tree")["tree"] == "the base ./tree/ changed"


def test_attributes_of_the_machine_are_not_locked(project, monkeypatch):
    (project.root / "tree/etc").mkdir(parents=True)
    project.declare("x", "./tree", sign=False)
    texts = set()
    for names in (["user.own"], ["lustre.lov", "security.SMACK64", "system.nfs4_acl", "trusted.lov", "user.own"], []):
        monkeypatch.setattr(os, "listxattr", lambda *_, found=names, **__: found)
        monkeypatch.setattr(os, "getxattr", lambda _, name, **__: name.encode())
        project.lock("x")
        texts.add(project.lock_text("x"))
    assert len(texts) == 2


def test_a_base_of_the_project_is_locked_by_its_lock(project):
    project.define("top", "%labels\n    c d", "Bootstrap: localimage\nFrom: images/tool.sif", sign=False)
    project.lock()
    what = r"^top: .*top.def:2: .*tool.sif: the image tool, from which it is built, is not finished; build it first"
    with pytest.raises(LockError, match=what):
        project.build("top")
    ready_at = project.build("tool", "top")
    assert [word for word in ready_at if word.startswith("publish")] == ["publish:tool", "publish:top"]
    shown = sifmake.inspect(project.root / "images/top.sif")
    assert (shown.labels["a"], shown.labels["c"]) == ("b", "d")
    assert project.lock("top") == {"top": ""}
    (project.root / "src/tool").write_text("two\n")
    assert project.lock("top", "tool") == {"top": "the base images/tool.sif changed", "tool": "the files src changed"}
    assert project.build("tool", "top")[-1] == "publish:top"


def test_what_is_missing_is_named_with_its_place(project):
    for base, hint in (
        ("images/tol.sif", "images/tol.sif: no image of the project has this file; did you mean 'tool'?"),
        ("rootfs", "rootfs: the file or folder does not exist; check the path"),
    ):
        project.define("x", "", f"Bootstrap: localimage\nFrom: {base}")
        assert project.lock("x")["x"] == f"{project.root}/x.def:2: {project.root}/{hint}"
    os.mkfifo(project.root / "pipe")
    project.define("x", "", "Bootstrap: localimage\nFrom: pipe")
    assert "pipe: this is neither a file nor a folder" in project.lock("x")["x"]
    project.declare("x", "./gone.def")
    where = f"{project.root}/config/images.yaml:1: images.x: {project.root}/gone.def"
    assert project.lock("x")["x"].startswith(f"{where}: the file or folder does not exist; name a definition file")


def test_a_file_that_cannot_be_read_is_locked_with_its_line(project, monkeypatch):
    def refuse(_, file):
        raise SourceError(f"{file.path.decode()}: Permission denied")

    monkeypatch.setattr(HostFolder, "read", refuse)
    assert project.lock("tool")["tool"] == f"{project.root}/tool.def:4: src/tool: Permission denied"


@pytest.mark.parametrize("method", ["is_dir", "exists", "resolve"])
def test_what_cannot_be_read_fails_its_image_alone(project, monkeypatch, method):
    from sifmake.stages.build_order import in_order

    project.define("x", "", "Bootstrap: oci\nFrom: layout", sign=False)
    real = getattr(Path, method)

    def refuse(path, *args, **kwargs):
        if path.name in ("x.def", "layout"):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return real(path, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(Path, method, refuse)
        found = project.lock()
        assert list(in_order(project.open())) == [["tool", "x"]]
    assert found["tool"] == "there was no lock"
    assert ": Permission denied; check the permissions of the file and its folder" in found["x"]
    assert found["x"].startswith((f"{project.root}/config/images.yaml:1: images.x: ", f"{project.root}/x.def:2: "))


def test_an_image_is_not_built_from_itself(project):
    for name, base in (("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")):
        project.define(name, "", f"Bootstrap: localimage\nFrom: ./images/{base}.sif", sign=False)
    found = project.lock("d", "a", "b", "c")
    assert all("is built from itself" in error for error in found.values()), found


def test_a_signed_file_must_be_that_of_its_lock(project, tmp_path):
    (project.root / "sifmake.yaml").write_text(
        json.dumps({"store": {"path": str(tmp_path / "s")}, "key": "development"})
    )
    project.declare("tool", "./tool.def")
    ready(project)
    old = project.sif("tool")
    (project.root / "src/tool").write_text("two\n")
    project.lock()
    project.build("tool")
    target = project.root / "images/tool.sif"
    assert sifmake.verify(target).verdict.name == "VERIFIED"
    target.write_bytes(old)
    record = project.root / "results/tool/publish.json"
    content = json.loads(record.read_bytes())
    from sifmake.builder.image_signing import check_published

    assert content["result"]["size"]
    with pytest.raises(
        SigningError, match=r"is not the image of its lock: it was built from other inputs than sha256:"
    ):
        check_published(project.open(), "tool")


@pytest.mark.parametrize("part", [slice(0, 100_000), slice(100_000, 100_001)], ids=["the head", "a byte of a file"])
def test_a_damaged_layer_between_stages_is_made_again_in_the_same_run(project, part):
    (project.root / "src/big").write_bytes(random.Random(1).randbytes(200_000))
    ready(project)
    good = project.sif("tool")
    shutil.rmtree(project.root / "results")
    (project.root / "images/tool.sif").unlink()
    project.build("tool", stages=("pull", "steps", "flatten"))
    for pack in (project.root.parent / "store/packs").rglob("*"):
        if pack.is_file():
            data = bytearray(pack.read_bytes())
            data[part] = bytes(byte ^ 255 for byte in data[part])
            pack.chmod(0o644)
            pack.write_bytes(data)
    assert project.build("tool", stages=("sif", "sign", "verify", "publish"))[-1] == "publish"
    assert project.sif("tool") == good


@needs_scripts
class TestScripts:
    """With a shell."""

    @pytest.fixture
    def tools(self, tmp_path):
        made = Definitions(tmp_path / "p").with_busybox()
        (made.root / "data").write_text("1\n")
        steps = "%files\n    data /data\n%post\n    cat /data > /a\n# sifmake: step\n    date +%N > /b\n"
        made.define("tool", f"{steps}%environment\n    export A=1\n", sign=False)
        return made

    def test_each_change_runs_the_steps_it_must(self, tools):
        ready(tools)
        assert tools.scripts == ["cat /data > /a", "date +%N > /b"]
        path = tools.root / "tool.def"
        text = path.read_text()
        for old, new, ran in (
            ("export A=1", "export A=2", []),
            ("date +%N", "date +%s", ["date +%s > /b"]),
            (
                "cat /data >",
                "cat  /data >",
                ["cat /data > /a"],
            ),  # the layer is the same, so the next step's key is, too
            ("cat  /data", "cat /data /data", ["cat /data /data > /a", "date +%s > /b"]),
        ):
            path.write_text(text := text.replace(old, new))
            tools.lock()
            assert tools.build("tool") == ["steps", *LATER]
            assert tools.scripts == ran
        (tools.root / "data").write_text("2\n")
        tools.lock()
        tools.build("tool")
        assert tools.scripts == ["cat /data /data > /a", "date +%s > /b"]

    def test_a_second_machine_with_the_store_runs_no_step(self, tools):
        ready(tools)
        shutil.rmtree(tools.root / "results")
        good = tools.sif("tool")
        assert tools.build("tool", locked=True) == [*STAGE_NAMES]
        assert tools.scripts == []
        assert tools.sif("tool") == good

    def test_every_stage_in_a_process_of_its_own_makes_the_same_file(self, tools):
        ready(tools)
        good = tools.sif("tool")
        shutil.rmtree(tools.root / "results")
        for stage in STAGE_NAMES:
            tools.build("tool", stages=(stage,))
            assert tools.scripts == []
        assert tools.sif("tool") == good

    def test_a_step_that_the_store_has_lost_is_run_again_between_stages(self, tools):
        tools.lock()
        tools.build("tool", stages=("pull", "steps", "flatten"))
        shutil.rmtree(tools.root.parent / "store/packs")
        assert tools.build("tool", stages=("sif", "sign", "verify", "publish"))[-1] == "publish"
        assert tools.scripts == ["cat /data > /a", "date +%N > /b"]

    def test_the_callers_variables_do_not_reach_the_script(self, tools, monkeypatch):
        monkeypatch.setenv("APPTAINERENV_LEAK", "leaked")
        monkeypatch.setenv("SOURCE_DATE_EPOCH", "12345")
        monkeypatch.setenv("GITHUB_TOKEN", "token")
        tools.define("env", "%post\n    env\n", sign=False)
        ready(tools, "env")
        said = "\n".join(tools.told.lines)
        assert "APPTAINER_CONTAINER" in said
        assert not any(word in said for word in ("leaked", "12345", "token"))

    def test_setup_changes_the_tree_once_for_all_stages(self, tools):
        counter = tools.root.parent / "count"
        setup = f"%setup\n    echo >>{counter}; cp {counter} $APPTAINER_ROOTFS/count\n%post\n    cp /count /copy\n"
        tools.define("tool", setup, sign=False)
        tools.lock(allow_host_sections=True)
        for stage in STAGE_NAMES:
            assert tools.build("tool", stages=(stage,), allow_host_sections=True) == [stage]
        assert counter.read_text() == "\n"
        before = tools.sif("tool")
        assert tools.build("tool", allow_host_sections=True) == ["steps", *LATER]
        assert tools.scripts == ["cp /count /copy"]
        assert counter.read_text() == "\n" * 2
        assert tools.sif("tool") != before

    def test_a_step_that_expires_runs_again_when_its_lock_is_renewed(self, tools, monkeypatch):
        class Clock(datetime):
            days = 0

            @classmethod
            def now(cls, tz=None):
                return datetime.now(tz) + timedelta(days=cls.days)

        monkeypatch.setattr("sifmake.stages.build_locking.datetime", Clock)
        text = "%post\n    echo once > /a\n# sifmake: step\n# sifmake: expires 7d\n    date +%N > /b\n"
        tools.define("tool", text, sign=False)
        ready(tools, "tool")
        assert "\nrenewed:\n" in tools.lock_text("tool")
        Clock.days = 6
        assert tools.lock("tool") == {"tool": ""}
        assert tools.build("tool") == []
        Clock.days = 8
        assert tools.lock("tool", offline=True) == {"tool": ""}
        assert tools.lock("tool") == {"tool": "a step that expires changed"}
        assert tools.build("tool")[0] == "steps"
        assert tools.scripts == ["date +%N > /b"]
        tools.define("tool", "%post\n    echo once > /a\n", sign=False, **{"cache-for": "2w"})
        tools.lock("tool")
        Clock.days = 8 + 15
        assert tools.lock("tool") == {"tool": "a step that expires changed"}

    def test_a_failing_step_leaves_the_old_file(self, tools):
        ready(tools)
        good = tools.sif("tool")
        path = tools.root / "tool.def"
        path.write_text(path.read_text().replace("cat /data", "false"))
        tools.lock()
        with pytest.raises(SifmakeError, match=r"^tool: .*tool.def:7: %post: the script ended with exit status 1"):
            tools.build("tool")
        assert tools.sif("tool") == good

    def test_the_test_section_must_succeed_before_publishing(self, tools):
        path = tools.root / "tool.def"
        ready(tools)
        good = tools.sif("tool")
        path.write_text(path.read_text() + "%test\n    grep -q 2 /data\n")
        tools.lock()
        with pytest.raises(SifmakeError, match=r"tool.def:\d+: %test: the test ended with exit status 1"):
            tools.build("tool")
        assert tools.sif("tool") == good
        (tools.root / "data").write_text("2\n")
        tools.lock()
        assert tools.build("tool")[-1] == "publish"


class Counted(SimpleHTTPRequestHandler):
    """Serves a folder and notes what it is asked."""

    asked: ClassVar[list[str]] = []

    def log_message(self, *_):
        self.asked.append(self.command)


def test_a_file_of_a_server_is_a_base(project, tmp_path):
    (tmp_path / "web").mkdir()
    sifmake.pull(HELLO, tmp_path / "web/a.sif")
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Counted, directory=str(tmp_path / "web")))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        header = f"Bootstrap: http\nFrom: 127.0.0.1:{server.server_port}/a.sif"
        project.define("web", "%files\n    src /opt", header, sign=False)
        ready(project, "web")
        Counted.asked.clear()
        assert project.lock("web") == {"web": ""}
        assert Counted.asked == ["HEAD"]
        assert f"from: http://127.0.0.1:{server.server_port}/a.sif" in project.lock_text("web").replace('"', "")
        good = project.sif("web")
        sifmake.pull(HELLO, tmp_path / "web/a.sif", force=True, compression="zstd")
        os.utime(tmp_path / "web/a.sif", (1, 1))
        assert "the base http://" in project.lock("web")["web"]
    finally:
        server.shutdown()
        server.server_close()
    assert sifmake.inspect(project.root / "images/web.sif").labels["org.opencontainers.image.title"] == "hello"
    assert good
