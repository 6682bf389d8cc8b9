"""The user who runs a program, and the state that the container inherits from the calling process."""

from __future__ import annotations

import os

from sifmake.withheld import without_secrets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping


class Caller:
    """The user who asks for a run.

    Attributes:
        uid: User id.
        gid: Group id.
        cwd: Current directory; the root if it has been removed.
        environ: Environment variables.
        home: Home directory on the host.
        home_inside: Home directory in the container.
    """

    def __init__(self, home: str = "") -> None:
        """Read the process's state; ``home`` is ``SOURCE[:TARGET]`` in place of the user's home directory."""
        self.uid, self.gid = os.geteuid(), os.getegid()
        self.cwd = current_folder()
        self.environ = given_environment(os.environ)
        source, _colon, target = (home or _home_of(self.uid, self.environ)).partition(":")
        self.home = os.path.realpath(source)
        self.home_inside = target or os.path.abspath(source)


def current_folder() -> str:
    """Return the current directory; the root if it has been removed."""
    try:
        return os.getcwd()
    except OSError:
        return "/"


def given_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of the caller without our secrets.

    In the C locale, Python itself sets LC_CTYPE (PEP 538), which is removed here.
    """
    values = without_secrets(environ)
    if "LC_CTYPE" in values:
        with open("/proc/self/environ", "rb") as file:
            given = [item for item in file.read().split(b"\0") if item.startswith(b"LC_CTYPE=")]
        if not given:
            del values["LC_CTYPE"]
        elif values["LC_CTYPE"] == "C.UTF-8":
            values["LC_CTYPE"] = os.fsdecode(given[-1].removeprefix(b"LC_CTYPE="))
    return values


def _home_of(uid: int, environ: Mapping[str, str]) -> str:
    """Return a user's home directory, from the user database or the environment."""
    import pwd

    try:
        return pwd.getpwuid(uid).pw_dir or "/"
    except KeyError:
        return environ.get("HOME") or "/"
