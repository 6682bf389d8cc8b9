"""Whether programs of another architecture can run on this machine."""

from __future__ import annotations

from pathlib import Path

from sifmake.errors import StepError
from sifmake.oci.platform import host_platform

_REGISTERED = Path("/proc/sys/fs/binfmt_misc")
_QEMU = {"amd64": "x86_64", "arm64": "aarch64", "386": "i386", "loong64": "loongarch64", "mips64le": "mips64el"}
"""What qemu-user calls architectures that Go calls otherwise."""
_NATIVE = {("amd64", "386"), ("arm64", "arm")}
"""Programs that a processor runs besides its own."""


def check_runnable(architecture: str, what: str, where: str) -> None:
    """Do nothing where programs of an architecture can run.

    Args:
        architecture: In Go's spelling; empty where the image has no programs.
        what: What is to run, for the message.
        where: What messages call it.

    Raises:
        StepError: They cannot: the machine has another processor, and no emulator is registered.
    """
    own = host_platform().architecture
    if architecture in {"", "unknown", own} or (own, architecture) in _NATIVE:
        return
    if (_REGISTERED / f"qemu-{_QEMU.get(architecture, architecture)}").exists():
        return
    hint = "build on such a machine, or register qemu-user with binfmt_misc (Debian: qemu-user-static)"
    raise StepError(f"{what} is for {architecture}, and this machine is {own}", where=where, hint=hint)
