"""Whether programs of another architecture can run on this machine."""

from __future__ import annotations

from pathlib import Path

from sifmake.errors import StepError
from sifmake.oci.platform import host_platform

_REGISTERED = Path("/proc/sys/fs/binfmt_misc")
_QEMU = {"amd64": "x86_64", "arm64": "aarch64", "386": "i386", "loong64": "loongarch64", "mips64le": "mips64el"}
"""Names of architectures in qemu-user that differ from Go's."""
_NATIVE = {("amd64", "386"), ("arm64", "arm")}
"""Foreign architectures whose programs a processor also runs."""


def check_runnable(architecture: str, what: str, where: str) -> None:
    """Raise an error unless programs of an architecture can run.

    Args:
        architecture: In Go's spelling; empty if the image has no programs.
        what: The program to run, for the message.
        where: Its name in messages.

    Raises:
        StepError: They cannot run: the machine has another processor, and no emulator is registered.
    """
    own = host_platform().architecture
    if architecture in {"", "unknown", own} or (own, architecture) in _NATIVE:
        return
    if (_REGISTERED / f"qemu-{_QEMU.get(architecture, architecture)}").exists():
        return
    hint = "build on a machine of that architecture, or register qemu-user with binfmt_misc (Debian: qemu-user-static)"
    raise StepError(f"{what} is for {architecture}, but this machine is {own}", where=where, hint=hint)
