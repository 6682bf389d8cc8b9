"""Start a program that reaches no keys of the user, no keyrings and no terminal, and that ends with its caller."""

from __future__ import annotations

import os
import signal
import sys

from sifmake.rootless import kernel
from sifmake.rootless.calls import tables
from sifmake.rootless.seccomp import install_filter

_JOIN_SESSION = 1
"""KEYCTL_JOIN_SESSION_KEYRING, keyctl(2)."""


def run_confined() -> None:
    """Become the program in the arguments, in a session and with a session keyring of its own; it ends with the caller.

    Root's other keyrings are out of reach as well; those of other users are so in a user namespace (Linux 5.3).
    """
    kernel.prctl(kernel.PR_SET_PDEATHSIG, signal.SIGKILL)
    os.setsid()
    native = tables()[:1]
    for table in native:
        try:  # noqa: SIM105 - importing contextlib takes 3 ms
            kernel.syscall(table.calls["keyctl"], _JOIN_SESSION, 0, where="keyctl")
        except OSError:  # not every kernel has keyrings
            pass
    if os.geteuid() == 0:
        install_filter("root", spaces=False)
    os.execve(sys.argv[1], sys.argv[1:], os.environ)  # that was given to this process
