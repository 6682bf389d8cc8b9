"""Check what the kernel needs to start a program: the interpreter of a script, the loader of an ELF file.

If one of them is missing, the kernel reports "no such file" for the program; this module names the missing file.
"""

from __future__ import annotations

import os

from sifmake.runtime.errors import RunError
from sifmake.runtime.readahead import HEAD, loader_in, open_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.runtime.container_paths import ContainerPaths

_SHELL = "/bin/sh"
_LINE = 256
"""Bytes of a script's first line that the kernel reads (Linux fs/binfmt_script.c)."""
_MOST_SCRIPTS = 5
"""Most scripts that may be interpreters of each other (Linux fs/exec.c)."""
_ELF = b"\x7fELF"
_MACHINES = {3: "i386", 8: "mips", 20: "ppc", 21: "ppc64", 22: "s390x", 40: "arm", 62: "x86_64", 183: "aarch64"}
_MACHINES |= {243: "riscv64", 258: "loongarch64"}
"""Names of architectures as in ``uname -m``, by number (ELF specification, e_machine)."""
_RUNS_TOO = {"x86_64": ("i386",), "aarch64": ("arm",), "ppc64le": ("ppc64",), "i686": ("i386",)}
"""Architectures whose programs another architecture can run."""


def check_startable(path: str, view: ContainerPaths, cwd: str) -> None:
    """Check that the kernel can start an existing, executable program.

    Args:
        path: Path in the container.
        view: The container.
        cwd: Folder to which relative paths are relative.

    Raises:
        RunError: Its interpreter or loader is missing, or it is for another processor.
    """
    name = path
    for _ in range(_MOST_SCRIPTS):
        head = _head_of(view, _absolute(path, cwd))
        if not head.startswith(b"#!"):
            _check_program(name, head, view)
            return
        path = _interpreter_of(name, head)
        if not path:
            return
        mode = view.mode(_absolute(path, cwd))
        if mode is None:
            hint = "correct the script's first line, or use an image that has the interpreter"
            raise RunError(f"{name}: its interpreter {path} is not in the image", hint=hint)
        if not mode & 0o111:
            raise RunError(f"{name}: its interpreter {path} is not executable")


def _absolute(path: str, cwd: str) -> str:
    return path if path.startswith("/") else f"{cwd}/{path}"


def _head_of(view: ContainerPaths, path: str) -> bytes:
    """Return the beginning of a program; empty if it may be executed but not read."""
    for fd in open_file(view, path):
        try:
            return os.pread(fd, HEAD, 0)
        except OSError:
            break
        finally:
            os.close(fd)
    return b""


def _interpreter_of(name: str, head: bytes) -> str:
    """Return the interpreter that a script names; RunError if it ends with a Windows line ending."""
    line = head[2:_LINE].partition(b"\n")[0].strip(b" \t")
    word = line.replace(b"\t", b" ").partition(b" ")[0].partition(b"\0")[0]
    if word.endswith(b"\r"):
        what = f"{name}: its first line ends with CR LF, so the kernel looks for an interpreter with a CR in its name"
        raise RunError(what, hint="convert the script to Unix line endings (dos2unix)")
    return os.fsdecode(word)


def _check_program(name: str, head: bytes, view: ContainerPaths) -> None:
    if not head.startswith(_ELF):
        if head and view.mode(_SHELL) is None:
            what = f"{name}: neither a program nor a script with a first line like #!/path, and there is no {_SHELL}"
            raise RunError(what, hint="rebuild the image with a program that the kernel can start")
        return
    _check_machine(name, head)
    loader = loader_in(head)
    if loader and view.mode(loader) is None:
        hint = "the program was built for another C library (glibc or musl); use a static one, or one for this image"
        raise RunError(f"{name}: its loader {loader} is not in the image", hint=hint)


def _check_machine(name: str, head: bytes) -> None:
    """Refuse a program for another processor, unless the kernel has an emulator for it."""
    wanted = _MACHINES.get(int.from_bytes(head[18:20], "little" if head[5:6] == b"\1" else "big"), "")
    here = os.uname().machine
    if not wanted or wanted in (here, *_RUNS_TOO.get(here, ())) or here.startswith(wanted):
        return
    if not os.path.exists(f"/proc/sys/fs/binfmt_misc/qemu-{wanted}"):
        raise RunError(f"{name}: the program is for {wanted}, this machine is {here}", hint="install qemu-user-static")
