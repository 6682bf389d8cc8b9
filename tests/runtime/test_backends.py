"""Which back end runs, the arguments it gets, and the messages when something is missing."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from sifmake.errors import SifmakeError
from sifmake.runtime import rootfs, supervisor
from sifmake.runtime.caller import Caller
from sifmake.runtime.container_paths import ContainerPaths
from sifmake.runtime.errors import RunError
from sifmake.runtime.image import OpenImage, check_machine, open_image
from sifmake.runtime.request import Request
from support.corpus import SIF_BROKEN, SIF_FROM_PEERS, needs_corpus
from support.runtime import environment, run


@pytest.fixture
def peer(tmp_path):
    """A stand-in for apptainer that prints what it was told and ends with status 9."""
    program = tmp_path / "bin" / "apptainer"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$0" "$@"\nexit 9\n')
    program.chmod(0o755)
    (tmp_path / "x.sif").write_bytes(b"")
    return program


def test_a_peer_on_path_runs_it(peer, tmp_path):
    env = environment(PATH=f"{peer.parent}:/usr/bin:/bin")
    options = ["-B", "/a:/b", "--env", "A=1", "--containall", "--nv", "--overlay", "o.img", "--pwd", "/x", "-q"]
    done = run("exec", *options, "x.sif", "cmd", "--flag", "two words", env=env, cwd=tmp_path)
    words = done.stdout.decode().splitlines()
    assert done.returncode == 9
    assert words == [
        *[str(peer), "--silent", "exec", "--bind", "/a:/b", "--containall", "--pwd", "/x", "--env", "A=1", "--nv"],
        *["--overlay", "o.img", str(tmp_path / "x.sif"), "cmd", "--flag", "two words"],
    ]


@pytest.mark.parametrize("given", [{}, {"LC_CTYPE": "C"}, {"LC_CTYPE": "C.UTF-8", "ODD": "\udcff"}])
def test_a_peer_gets_the_callers_environment(peer, tmp_path, given):
    peer.write_text("#!/bin/sh\ntr '\\000' '\\n' < /proc/$$/environ\n")
    env = {"PATH": f"{peer.parent}:/usr/bin:/bin", **given}
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from sifmake.cli.main import main; sys.exit(main())", "exec", "x.sif", "a"],
        env=env,
        cwd=tmp_path,
        capture_output=True,
        check=True,
    )
    assert sorted(os.fsdecode(done.stdout).splitlines()) == sorted(f"{name}={value}" for name, value in env.items())


def test_runtime_can_be_forced(peer, tmp_path):
    env = environment(PATH=f"{peer.parent}:/usr/bin:/bin")
    done = run("exec", "--runtime", "builtin", "x.sif", "cmd", env=env, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (255, b"")
    assert "not a SIF file" in done.stderr.decode()
    done = run("exec", "--runtime=singularity", "x.sif", "cmd", env=env, cwd=tmp_path)
    assert "install the package singularity" in done.stderr.decode()


@pytest.mark.parametrize(
    ("missing", "message"),
    [("bwrap", "install the package bubblewrap"), ("unsquashfs", "install squashfuse")],
)
def test_missing_tools_are_named(monkeypatch, tmp_path, missing, message):
    real = rootfs.find_program
    for module in (rootfs, supervisor):
        monkeypatch.setattr(module, "find_program", lambda *names: "" if missing in names else real(*names))
    image = OpenImage(0, 4096, 4096, b"02")
    request = Request("exec", "x.sif", arguments=["true"])
    with pytest.raises(RunError, match=message):
        supervisor.run_kept(request, image) if missing == "bwrap" else rootfs.unpack(image, str(tmp_path / "root"))


@needs_corpus
def test_other_files_are_refused(tmp_path):
    with pytest.raises(RunError, match="OCI-SIF"):
        open_image(str(SIF_FROM_PEERS / "busybox-musl.oci.sif"))
    empty = tmp_path / "empty.sif"
    empty.write_bytes(b"")
    for path in [empty, *sorted(SIF_BROKEN.glob("struct-*.sif"))]:
        try:
            image = open_image(str(path))
        except SifmakeError:
            continue
        os.close(image.fd)
        assert 128 <= image.offset < image.offset + image.size <= path.stat().st_size


@pytest.mark.parametrize(("arch", "good"), [(b"02", True), (b"00", True), (b"11", False)])
def test_architecture(monkeypatch, arch, good):
    monkeypatch.setattr("os.uname", lambda: struct_uname("x86_64"))
    if good:
        check_machine("x.sif", OpenImage(-1, 0, 0, arch))
    else:
        with pytest.raises(RunError, match="s390x, this machine is x86_64"):
            check_machine("x.sif", OpenImage(-1, 0, 0, arch))


def struct_uname(machine):
    """Return something with the machine's name."""
    return type("Uname", (), {"machine": machine})


def test_links_stay_in_the_image(tmp_path):
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "passwd").write_text("image\n")
    for name, target in {
        "abs": "/etc",
        "up": "../../../../etc",
        "loop": "loop",
        "chain": "abs/passwd",
        "gone": "/none/x",
    }.items():
        (root / name).symlink_to(target)
    view = ContainerPaths(str(root))
    assert view.read("/abs/passwd") == view.read("/up/passwd") == view.read("/chain") == "image\n"
    assert view.resolve("/abs/../abs/passwd").host == str(root / "etc" / "passwd")
    assert (view.resolve("/gone").path, view.resolve("/gone").missing) == ("/none/x", 2)
    with pytest.raises(OSError, match="too many levels"):
        view.resolve("/loop/x")
    view.add("/etc", "/somewhere")
    assert view.where("/etc/passwd") == ("/somewhere/passwd", True)


def test_caller_without_an_account(monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 4_000_000)
    monkeypatch.setenv("HOME", "/some/home")
    assert Caller().home_inside == "/some/home"
    assert Caller("/a:/b").home_inside == "/b"
