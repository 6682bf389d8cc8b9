"""Owners that scripts give to files: real ones, and those that only seem to be."""

from __future__ import annotations

import os
import shutil

import pytest

from support.rootless import NEEDS_ROOTLESS

pytestmark = NEEDS_ROOTLESS
CHANGES = """
mkdir -p /o/d; cd /o; touch f; ln f g; ln -s f link; mkfifo pipe
chown 12:34 d; chown 5 f; chown :7 g; chown -h 9:9 link; chown 3:3 pipe
chmod 4755 f; chown 6 f; mv f h; cp -a d ../o/e; chown -R 2:2 e; chown 0:0 e
stat -c '%a %u:%g %n' d e g h link pipe .
"""
SAID = ["775 12:34 d", "775 0:0 e", "755 6:7 g", "755 6:7 h", "777 9:9 link", "664 3:3 pipe", "775 0:0 ."]
LAYER = {"o": (0, 0), "o/d": (12, 34), "o/e": (0, 0), "o/g": (6, 7), "o/link": (9, 9), "o/pipe": (3, 3)}


def test_owners_are_told_and_are_in_the_layer(builder):
    done = builder.run(CHANGES)
    assert done.status == 0
    assert done.output.splitlines()[-7:] == SAID
    assert {path: tuple(row.owner) for path, row in done.layer.items() if row.kind != "hard"} == LAYER
    assert done.layer["o/h"].target == "o/g"
    assert all(row.xattrs == {} for row in done.layer.values())


def test_what_the_image_owns_stays_so(builder):
    done = builder.run("stat -c %u:%g /home; touch /home/x; chmod 700 /home; chown 4 /home; stat -c %u:%g /home")
    assert done.output.split("\n")[1::4][:1] == ["65534:65534"]
    assert done.output.endswith("4:65534\n")
    assert done.layer["home"].owner == [4, 65534]
    assert done.layer["home"].mode == 0o700


def test_a_user_can_be_made_and_used(builder):
    script = """
    adduser -D joe; umask 077; stat -c %U:%G /home/joe
    su joe -c 'id; cd; echo x > mine; echo y >> mine; mkdir d; ln -s mine l; cp mine d/copy; stat -c %U:%G d/copy'
    id -u
    """
    done = builder.run(script)
    assert done.status == 0
    said = [line for line in done.output.splitlines() if line[0] != "+"]
    assert said == ["joe:joe", "uid=1000(joe) gid=1000(joe) groups=1000(joe)", "joe:joe", "0"]
    made = {path: row for path, row in done.layer.items() if path.startswith("home/joe")}
    assert {path: tuple(row.owner) for path, row in made.items()} == dict.fromkeys(made, (1000, 1000))
    assert [made[f"home/joe{name}"].mode for name in ("/mine", "/d", "/d/copy")] == [0o600, 0o2700, 0o600]
    assert made["home/joe/mine"].text == "x\ny\n"
    assert {"etc/passwd", "home/joe/l"} <= set(done.names)


@pytest.mark.parametrize("command", ["chown 1 /none", "chown 1 /none/x", "chown -h 1 /etc/passwd/x"])
def test_what_is_not_there_has_no_owner(anyone, command):
    done = anyone.run(f"! {command}")
    assert done.status == 0
    assert "No such file" in done.output or "Not a directory" in done.output


def test_device_nodes(builder):
    done = builder.run(
        "mknod -m 640 /null2 c 1 3 && chmod 604 /null2 || echo refused; mknod /b b 7 70000; mknod /pipe p"
    )
    if builder.mode == "subuid":
        assert "refused\n" in done.output
        assert done.names == []
        return
    assert done.status == 0
    found = {path: (row.kind, row.device, row.mode) for path, row in done.layer.items()}
    assert found == {
        "null2": ("char", [1, 3], 0o604),
        "b": ("block", [7, 70000], 0o664),
        "pipe": ("fifo", [0, 0], 0o664),
    }
    faked = ["the device node /null2", "the device node /b"]
    assert done.faked == (faked if builder.mode == "single" else [])


def test_device_nodes_that_were_made_cannot_be_opened(builders):
    done = builders("root").run("mknod /null2 c 1 3; ! cat /null2; mknod /tmp/null2 c 1 3; ! cat /tmp/null2")
    assert done.status == 0


def test_what_is_bound_from_the_host_is_not_marked(builder):
    """A chown there is reported as done, but leaves nothing on the host's file that would surprise its owner."""
    outside = builder.folder / "outside"
    outside.mkdir(mode=0o777)
    outside.chmod(0o777)
    try:
        script = "cd /mnt; touch f; chown 5:6 f; stat -c %u:%g f; mkdir d; chown 7 d; stat -c %u d"
        done = builder.run(script, binds=[[str(outside), "/mnt", False]])
        assert done.status == 0
        assert [line for line in done.output.splitlines() if line[0] != "+"] == ["5:6", "7"]
        assert [os.listxattr(outside / name) for name in ("f", "d")] == [[], []]
        assert "mnt/f" not in done.names
    finally:
        shutil.rmtree(outside)


def test_where_files_have_no_attributes_the_tree_is_copied_and_owners_are_noted(builders):
    """As on network file systems: neither overlays nor attributes of users."""
    done = builders("single", "ramfs").run(f"stat -c %u:%g /home; {CHANGES} chown 0:0 /home; stat -c %u:%g /home")
    assert done.status == 0
    said = [line for line in done.output.splitlines() if line[0] != "+"]
    assert said == ["65534:65534", *SAID, "0:0"]
    owners = {path: tuple(row.owner) for path, row in done.layer.items() if row.kind != "hard"}
    assert owners == LAYER | {"home": (0, 0)}


SHORT_CALLS = """
import ctypes, os
libc = ctypes.CDLL(None)
libc.mmap.restype, libc.mmap.argtypes = ctypes.c_void_p, [ctypes.c_size_t] * 2 + [ctypes.c_int] * 3 + [ctypes.c_long]
page = libc.mmap(0, 4096, 7, 0x62, -1, 0)  # below 4 GiB, to write and to run
# push rbx; mov eax, edi; mov ebx, esi; xchg edx, ecx; int 0x80; pop rbx; ret: a call of i386 programs
ctypes.memmove(page, bytes.fromhex("5389f889f387cacd805bc3"), 11)
call = ctypes.CFUNCTYPE(ctypes.c_int, *[ctypes.c_uint] * 4)(page)
for at, name in ((1024, b"/f"), (1100, b"/g")):
    open(name, "w").close()
    ctypes.memmove(page + at, name + bytes(1), 3)
print(call(212, page + 1024, 5, 6), call(182, page + 1100, 7, 0xFFFF), call(213, 33, 0, 0), call(288, 0, 0, 0))
print(libc.syscall(0x4000005C, b"/f", 1, 1), libc.syscall(425, 1, 0))
"""


@pytest.mark.skipif(os.uname().machine != "x86_64", reason="other machines have other calls")
def test_programs_of_other_kinds_pass_the_same_filter(builders):
    """Calls of 32-bit programs are answered likewise; those with 32-bit pointers and io_uring are refused."""
    builder = builders("single")
    (builder.folder / "calls.py").write_text(SHORT_CALLS)
    (builder.folder / "calls.py").chmod(0o644)
    binds = [[name, name, True] for name in ("/usr", "/lib", "/lib64")]
    binds.append([str(builder.folder / "calls.py"), "/calls.py", True])
    done = builder.run("/usr/bin/python3 /calls.py", binds=binds)
    (builder.folder / "calls.py").unlink()
    assert done.status == 0
    assert done.output.splitlines()[1:] == ["0 0 0 -1", "-1 -1"]
    assert [done.layer[name].owner for name in ("f", "g")] == [[5, 6], [7, 0]]


def test_where_no_call_can_be_answered_it_is_said_that_owners_are_lost(builders):
    """As where memory is closed to all (Yama): programs are told that it was done, and the step is not to be shared."""
    builder = builders("single")
    done = builder.run("touch /f; chown 5:6 /f; adduser -D joe; su joe -c true; stat -c %u:%g /f", closed=True)
    assert done.status == 0
    assert done.output.endswith("\n0:0\n")
    assert done.layer["f"].owner == [0, 0]
    assert [text.partition(":")[0] for text in done.faked] == ["owners of files"]


def test_what_is_made_in_a_setgid_folder_gets_its_group(builder):
    script = """
    mkdir /s; chgrp 50 /s; chmod 2775 /s; cd /s; touch in; mkdir dir; touch dir/in; touch root; chown 0:0 root
    touch user; chown 5:50 user; ln -s in link; mkfifo pipe
    """
    laid_over, copied = (builder.run(script, copy=copy).layer for copy in (False, True))
    assert {path: tuple(row.owner) for path, row in laid_over.items()} == {
        "s": (0, 50), "s/in": (0, 50), "s/dir": (0, 50), "s/dir/in": (0, 50), "s/root": (0, 0), "s/user": (5, 50),
        "s/link": (0, 50), "s/pipe": (0, 50),
    }  # fmt: skip
    assert {path: row.owner for path, row in copied.items()} == {path: row.owner for path, row in laid_over.items()}
