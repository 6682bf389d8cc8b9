"""Scripts that want to reach the host, to stay, or to be in the way."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest

from sifmake.rootless.changes import OverlayChanges, Unwanted
from support.rootless import NEEDS_ROOTLESS

pytestmark = NEEDS_ROOTLESS
EVIL = """
set +e
set -- /proc/[0-9]*; echo $#; cat /proc/1/environ; readlink /proc/1/fd/0 || echo denied
cat /proc/1/fd/2; ls /proc/1/root/; cat /proc/1/mem; kill -9 1; kill -STOP 1
mount -o remount,rw /sys; mount -t tmpfs t /mnt; umount /proc; umount /etc/resolv.conf; chroot /proc/1/root true
echo 1 > /proc/sys/kernel/core_pattern; echo b > /proc/sysrq-trigger; echo x > /sys/kernel/uevent_helper
head -c1 /proc/kcore; cat /proc/keys; hostname evil; echo /dev/*; dd if=/dev/zero of=/dev/mem bs=1 count=1 2>&1
echo reached
"""
_NAMES = ["fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout", "tty"]
DEVICES = " ".join(f"/dev/{name}" for name in [*_NAMES, "urandom", "zero"])


def test_the_host_cannot_be_reached(builder, tmp_path):
    done = builder.run(EVIL)
    said = [line for line in done.output.splitlines() if not line.startswith("+")]
    refusals = ("denied", "not permitted", "Read-only", "nonexistent", "can't", "No such", "must be")
    left = [line for line in said if not any(word in line for word in refusals)]
    assert left[0] == "2"
    assert [line for line in left[1:] if "records" not in line and "copied" not in line] == [DEVICES, "reached"]
    assert os.uname().nodename != "evil"


@pytest.mark.parametrize("name", ["tmp", "var/tmp"])
def test_the_temporary_folders_are_its_own(builder, name):
    done = builder.run(
        f"rm -rf /{name}/* /{name}/.[!.]*; echo $(ls -A /{name}); touch /{name}/mine; stat -c %a /{name}"
    )
    assert done.status == 0
    assert "\n1777\n" in done.output
    assert done.names == []
    if name == "tmp":
        assert Path("/tmp").exists()


def test_links_of_the_image_do_not_lead_out(builder):
    """Where something is mounted on a link of the image, it is mounted inside all the same."""
    links = {"tmp": "/../../../../sifmake-outside", "etc/resolv.conf": "../../../../tmp/x", "sys": "/var/sys"}
    row = {"kind": "link", "mode": 0o777, "owner": [0, 0], "mtime": 0, "text": ""}
    folder = row | {"path": "etc", "kind": "dir", "mode": 0o755, "target": ""}
    layer = {path: SimpleNamespace(**row, path=path, target=target) for path, target in links.items()}
    builder.stack("second", {"etc": SimpleNamespace(**folder)} | layer)
    try:
        lowers = [str(builder.folder / "second"), *builder.lowers]
        done = builder.run("ls -ld /sifmake-outside/x; ls /var/sys/kernel; touch /tmp/y; ls /sifmake-outside", lowers)
    finally:
        builder.do(do="remove", place="second")
    assert done.status == 0
    assert done.output.endswith("x\ny\n")
    assert not Path("/sifmake-outside").exists()
    assert done.names == []


def test_devices_of_the_host_keep_their_modes_and_times(builder):
    """They are the host's own files; what the modes allow can be done with them all the same."""
    names = ("null", "zero", "full", "random", "urandom", "tty")
    before = [os.stat(f"/dev/{name}").st_ctime_ns for name in names]
    done = builder.run(
        "cd /dev; chmod 0666 full; touch full; chown 0:0 full; echo x >full; echo x >null",
        words=["/bin/sh", "/.post.script"],
    )
    assert "full: Read-only file system" in done.output or "full: Operation not permitted" in done.output
    assert "No space left" in done.output
    assert [os.stat(f"/dev/{name}").st_ctime_ns for name in names] == before
    assert done.status == 0


def test_closed_descriptors_and_noise_do_not_matter(anyone):
    done = anyone.run("yes | head -c 3000000; exec 0<&- 1>&- 2>&-; exit 4")
    assert done.status == 4
    assert len(done.output) > 3_000_000
    assert "\2" not in done.output


def test_signals_to_everyone_end_the_script_only(anyone):
    assert anyone.run("sleep 99 & kill -9 -1; kill -9 $$").status == 137


def test_folders_without_permissions_are_read_and_removed(builder):
    done = builder.run(
        "mkdir -p /a/b/c; touch /a/b/c/f; chmod 000 /a/b/c /a/b /a; mkdir /tmp/x; touch /tmp/x/y; chmod 000 /tmp/x"
    )
    assert [(path, done.layer[path].mode) for path in done.names] == [
        ("a", 0),
        ("a/b", 0),
        ("a/b/c", 0),
        ("a/b/c/f", 0o664),
    ]
    assert builder.left() == []


def test_deep_folders_are_refused_and_removed(anyone):
    done = anyone.run(
        "cd /root; i=0; while [ $i -lt 900 ]; do mkdir deeper; cd deeper; i=$((i+1)); done 2>/dev/null; exit 0"
    )
    assert done.error == "deeper" or "nested too deep" in done.error
    assert anyone.left() == []


@pytest.mark.parametrize("name", [".wh.x", ".wh..wh..opq"])
def test_names_of_whiteouts_are_refused(anyone, name):
    assert "begins with .wh." in anyone.run(f"touch /root/{name}").error


def test_files_of_ours_may_be_anything(anyone):
    done = anyone.run("rm /.post.script; mkdir /.post.script /.build.labels; ln -s /tmp/x /.post.after", carry=True)
    assert (done.status, done.labels, done.snapshot, done.names) == (0, "", "", [])


def test_nothing_is_mounted_on_the_host(builder):
    before = mounts()
    builder.run("true")
    assert not {place for place in mounts() - before if "pytest" not in place or place.startswith(str(builder.folder))}
    assert builder.left() == []


def mounts():
    """Return where something is mounted; tests that run at the same time mount in folders of their own."""
    return {line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def test_the_keyrings_of_others_are_out_of_reach(builders):
    """What root's other processes keep in keyrings is not in any namespace."""
    python = "import ctypes; print(ctypes.CDLL(None).syscall(250, 6, -3, 0, 0, 0))"
    done = builders("root").run(
        f"{os.fspath('/usr/bin/python3')} -c '{python}'",
        binds=[["/usr", "/usr", True], ["/lib", "/lib", True], ["/lib64", "/lib64", True]],
    )
    if "not found" in done.output:
        pytest.skip("Python is not in /usr")
    assert done.output.endswith("\n-1\n")
    assert subprocess.run(["/usr/bin/python3", "-c", python], capture_output=True, check=True).stdout != b"-1\n"


def test_what_is_bound_read_only_cannot_be_written(builder):
    place = builder.folder / "bound"
    (place / "sub").mkdir(parents=True)
    (place / "sub").chmod(0o777)
    try:
        script = "! touch /mnt/sub/x; ! mount -o remount,rw /mnt; ! umount /mnt; ls /mnt; grep -c ' /mnt ' /proc/mounts"
        done = builder.run(script, binds=[[str(place), "/mnt", True]])
    finally:
        shutil.rmtree(place)
    assert done.status == 0
    assert done.output.endswith("\nsub\n+ grep -c ' /mnt ' /proc/mounts\n1\n")
    assert "Read-only file system" in done.output


def test_root_cannot_reach_control_groups_by_a_namespace(builders):
    script = "unshare -U true && echo made; unshare -m true && echo mounted; true"
    assert "made" not in builders("root").run(script).output.split("\n")
    assert "made" in builders("root").run(script, privileged=True).output.split("\n")


def test_what_root_has_made_immutable_is_removed(builders):
    root = builders("root")
    done = root.run("mkdir /kept; touch /kept/x; chattr +i /kept/x /kept", privileged=True)
    if done.status:
        pytest.skip("this file system has no immutable files")
    assert root.left() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to be root")
def test_attributes_of_the_machine_and_those_that_look_like_an_overlays_are_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # they are read with relative paths
    overlays = ("user.overlay.opaque", "user.overlay.redirect", "user.overlay.whiteout")
    names = ("security.selinux", "security.SMACK64X", *overlays, "user.own")
    (tmp_path / "file").touch()
    try:
        for name in names:
            os.setxattr(tmp_path / "file", name, b"y")
    except OSError:
        pytest.skip("this file system has no such attributes")
    changes = OverlayChanges(str(tmp_path), [], str(tmp_path), Unwanted([], []), lambda _: None)
    changes.overlay = "trusted.overlay."
    (change,) = [one for one in changes if one.path]
    assert change.status
    assert (change.xattrs, change.opaque) == (((b"user.own", b"y"),), False)


def test_whiteouts_cannot_be_made_by_hand(builder):
    done = builder.run("mknod /gone c 0 0 || echo refused")
    assert done.output.endswith("\nrefused\n")
    assert done.names == []
