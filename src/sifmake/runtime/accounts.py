"""The user's entries in the container's passwd and group files."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.runtime.container_paths import ContainerPaths


def passwd_text(view: ContainerPaths, uid: int, gid: int, home: str) -> str | None:
    """Return the image's passwd file with the user added; None if no change is needed."""
    text = view.read("/etc/passwd")
    if text is None or _has_id(text, uid):
        return None
    import pwd

    try:
        entry = pwd.getpwuid(uid)
        name, gecos, shell = entry.pw_name, entry.pw_gecos, entry.pw_shell
    except KeyError:
        name, gecos, shell = f"user{uid}", "", "/bin/sh"
    return _with_line(text, f"{name}:x:{uid}:{gid}:{gecos}:{home}:{shell}")


def group_text(view: ContainerPaths, gid: int) -> str | None:
    """Return the image's group file with the user's groups added; None if no change is needed."""
    text = view.read("/etc/group")
    if text is None:
        return None
    missing = [number for number in dict.fromkeys([gid, *os.getgroups()]) if not _has_id(text, number)]
    for number in missing:
        text = _with_line(text, f"{_group_name(number)}:x:{number}:")
    return text if missing else None


def _group_name(number: int) -> str:
    """Return the host's name for a group, or a name that contains its number."""
    import grp

    try:
        return grp.getgrgid(number).gr_name
    except KeyError:
        return f"group{number}"


def _has_id(text: str, number: int) -> bool:
    """Whether a passwd or group file has an entry with a number."""
    return any(line.split(":")[2:3] == [str(number)] for line in text.split("\n"))


def _with_line(text: str, line: str) -> str:
    """Return a file's text with a line added."""
    return f"{text}{'' if text.endswith(chr(10)) or not text else chr(10)}{line}\n"
