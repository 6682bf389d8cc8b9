"""What a script does leaves the unpacked tree as it was, and what anybody else does to it is noticed."""

from __future__ import annotations

import os

from support.rootless import NEEDS_ROOTLESS

pytestmark = NEEDS_ROOTLESS
MUCH = "rm -rf /home; chown 5 /etc/passwd; chmod 600 /bin/busybox; echo x > /etc/group; ln /etc/shadow /x; mv /usr /y"


def changed(builder, *places):
    return builder.do(do="check", places=places).changed


def test_changes_of_others_are_noticed_and_those_of_scripts_are_elsewhere(builder):
    builder.do(do="unpack", place="mine")
    try:
        assert builder.run(MUCH, lowers=[str(builder.folder / "mine")]).status == 0
        assert changed(builder, "base", "mine") == []
        path = builder.folder / "mine/tree/etc/group"
        before = path.stat()
        data = bytearray(path.read_bytes())
        data[0] ^= 1
        path.write_bytes(data)
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert changed(builder, "base", "mine") == ["mine"]
    finally:
        builder.do(do="remove", place="mine")
    assert changed(builder, "mine", "base") == ["mine"]
