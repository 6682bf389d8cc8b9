"""The requests of callers to the script runner."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, ClassVar

from sifmake.rootless.script import SCRIPT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

_WORDS = ("/bin/sh", "-ex", SCRIPT)


class Mode(Enum):
    """How a script becomes root.

    Attributes:
        ROOT: The user is root: a mount namespace is enough.
        SUBUID: A user namespace with the ids that /etc/subuid gives the user.
        SINGLE: A user namespace with one id; a supervisor notes the owners that programs set.
    """

    ROOT = "root"
    SUBUID = "subuid"
    SINGLE = "single"


@dataclass(frozen=True)
class PostBind:
    """A file or a folder of the host that a script sees.

    Attributes:
        source: On the host.
        target: Absolute path in the container.
        read_only: Whether the script cannot write to it.
    """

    source: Path
    target: str
    read_only: bool = True


def _ignore(_data: bytes) -> None:
    """Ignore the output."""


@dataclass(frozen=True, kw_only=True)
class PostRequest:
    """A script to run as root in a tree.

    Attributes:
        mode: How it becomes root.
        lowers: Folders made by :func:`~sifmake.rootless.unpack`: the tree last, layers over it before, highest first.
        scratch: Existing folder of the caller on the same file system; temporary files are created and removed there.
        script: Its text.
        words: Program and arguments that run it.
        environment: All its environment variables.
        binds: Files and folders of the host that it sees.
        network: Whether it has the host's network; else only a loopback device.
        secrets: Bytes that appear under /run/secrets, by name.
        epoch: Seconds since 1970 to which later times in the layer are set back; None leaves times alone.
        output: Gets its output, line by line (long lines in pieces).
        snapshot: State of the shell that an earlier piece of the same script left.
        carry: Whether to return the state of the shell at the end.
        asked: Words of later pieces that may be functions of this one.
        privileged: Whether it keeps all capabilities.
        leave_out: Patterns (fnmatch) of paths, without leading slash, to leave out of the layer.
        setup: Whether it sees the host instead of the tree, which is below ``APPTAINER_ROOTFS``.
        copy: Whether to copy the tree even if an overlay could be mounted.
        keep: Whether the tree of a script that fails stays, as a folder.
        SEMANTICS: Raised by hand when the same script on the same tree would leave something else; part of the key of
            a step.
    """

    SEMANTICS: ClassVar[int] = 2

    mode: Mode
    lowers: tuple[Path, ...]
    scratch: Path
    script: bytes
    words: tuple[str, ...] = _WORDS
    environment: Mapping[str, str] = field(default_factory=dict)
    binds: tuple[PostBind, ...] = ()
    network: bool = True
    secrets: Mapping[str, bytes] = field(default_factory=dict)
    epoch: int | None = None
    output: Callable[[bytes], None] = _ignore
    snapshot: bytes = b""
    carry: bool = False
    asked: tuple[str, ...] = ()
    privileged: bool = False
    leave_out: tuple[str, ...] = ()
    setup: bool = False
    copy: bool = False
    keep: bool = False
