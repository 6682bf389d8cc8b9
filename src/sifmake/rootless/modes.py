"""Choose how a script becomes root here, before anything is downloaded for it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, NamedTuple, cast

from sifmake.rootless.errors import RootlessError
from sifmake.rootless.ids import granted_map, mapped_words
from sifmake.rootless.interpreter import start_program
from sifmake.rootless.needs import check_room, explain_refusal
from sifmake.rootless.probe import probe
from sifmake.rootless.request import Mode
from sifmake.rootless.unpacking import remove_tree
from sifmake.temporaries import hold

if TYPE_CHECKING:
    from collections.abc import Iterator


class Choice(NamedTuple):
    """How scripts run on this machine.

    Attributes:
        mode: How they become root.
        overlay: Whether the kernel keeps changes in an overlay over the tree; else the tree is copied for each script.
    """

    mode: Mode
    overlay: bool

    def check_room(self, folder: Path, tree_bytes: int) -> None:
        """Check that a folder has room for a tree of that many bytes and for what a script adds; see ``needs``."""
        check_room(folder, tree_bytes, copies=1 if self.overlay else 2)


def choose_mode(folder: Path) -> Choice:
    """Return the best mode that works here; each is tried in a process of its own.

    Args:
        folder: Existing folder for trees, because not every file system supports overlays.

    Raises:
        RootlessError: No mode works; the hint says what to do.
        OSError: Nothing can be created in the folder.
    """
    refusals: list[str] = []
    for mode in _candidates():
        overlay, refusal = _try(mode, folder)
        if not refusal:
            return Choice(mode, overlay)
        refusals.append(refusal)
    raise RootlessError(f"scripts cannot run as root here: {refusals[-1]}", hint=explain_refusal(Path("/proc/sys")))


def _candidates() -> Iterator[Mode]:
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        yield Mode.ROOT
    if shutil.which("newuidmap") and shutil.which("newgidmap") and granted_map(uid, gid):
        yield Mode.SUBUID
    yield Mode.SINGLE


def _try(mode: Mode, folder: Path) -> tuple[bool, str]:
    """Return whether a mode has overlays, and the reason if it does not work at all."""
    users, groups = mapped_words(mode.value)
    place = Path(tempfile.mkdtemp(prefix="probe-", dir=folder))
    lock = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        hold(lock)
        process = start_program(probe, subprocess.PIPE, subprocess.DEVNULL, [lock])
        asked = json.dumps([mode.value, users, groups, str(place)]).encode()
        with suppress(BrokenPipeError), cast("IO[bytes]", process.stdin) as words:
            words.write(asked)
        with cast("IO[bytes]", process.stdout) as answer:
            said = answer.read(4096)
        process.wait()
    finally:
        os.close(lock)
        remove_tree(place, mode)
    return (False, "the process that tried it was killed") if not said else tuple(json.loads(said))
