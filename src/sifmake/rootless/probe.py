"""The program that tests whether a mode works: it does what a run does, up to the first script."""

from __future__ import annotations

import json
import os
import sys

from sifmake.errors import SifmakeError
from sifmake.rootless import kernel
from sifmake.rootless.namespace import become_root, enter_namespaces
from sifmake.rootless.overlay import mount_overlay
from sifmake.runtime.system import mount


def probe() -> None:
    """Test the mode named on standard input."""
    mode, users, groups, place = json.loads(sys.stdin.read())
    overlay, refusal = False, ""
    try:
        become_root(users, groups)
        enter_namespaces(network=True)
        os.mkdir(f"{place}/lower")
        if not _mounts_proc(place):
            refusal = "a process namespace cannot have a /proc of its own"
        overlay = _has_overlay(place, user=mode != "root")
    except SifmakeError as error:
        refusal = error.what
    except OSError as error:
        refusal = f"mounts are not allowed: {error.strerror}"
    sys.stdout.write(json.dumps([overlay, refusal]))


def _mounts_proc(place: str) -> bool:
    """Whether /proc can be mounted by the first process of a process namespace."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            mount("proc", f"{place}/lower", "proc", 0)
            kernel.unmount(f"{place}/lower")
            status = 0
        finally:
            os._exit(status)
    return os.waitpid(pid, 0)[1] == 0


def _has_overlay(place: str, *, user: bool) -> bool:
    """Whether an overlay can be mounted."""
    try:
        root = mount_overlay([f"{place}/lower"], f"{place}/lower", place, user=user)
    except OSError:
        return False
    kernel.unmount(root)
    return True
