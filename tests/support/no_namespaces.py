"""Run a command as on a machine that allows no user namespaces: ``no_namespaces.py COMMAND...``. Needs to be root.

It runs in one user namespace, with the same users, in which a further one is forbidden; the rest of the machine is
as it was.
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

NEW_MOUNTS_AND_USERS = 0x00020000 | 0x10000000


def main(command: list[str]) -> int:
    """Return the command's exit status."""
    inside, ready = os.pipe()
    mapped, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(go)
        if ctypes.CDLL(None).unshare(NEW_MOUNTS_AND_USERS):
            os._exit(99)
        os.write(ready, b"x")
        os.read(mapped, 1)
        Path("/proc/sys/user/max_user_namespaces").write_text("0")
        os.execvp(command[0], command)  # noqa: S606
    os.read(inside, 1)
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{name}").write_text("0 0 65536")
    os.write(go, b"x")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
