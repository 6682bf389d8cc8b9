"""Finding the file system in a SIF file, quickly: nothing of the file is read but header and table."""

from __future__ import annotations

import os
import stat

from sifmake.errors import SifError
from sifmake.runtime.errors import RunError
from sifmake.sif_table import EXTRA, OFFSET, SIZE, TYPE, read_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.sif_table import Table

_OCI_ROOT_INDEX = 0x400A
_SQUASHFS = 1
_MACHINES = {
    b"01": ("i386", "i486", "i586", "i686", "x86_64"),
    b"02": ("x86_64",),
    b"03": ("armv6l", "armv7l", "armv8l", "aarch64"),
    b"04": ("aarch64",),
    b"05": ("ppc64",),
    b"06": ("ppc64le",),
    b"11": ("s390x",),
    b"12": ("riscv64",),
    b"13": ("loongarch64",),
}
"""Architecture codes of the SIF format and the machines (uname -m) that run them."""
_EMULATORS = {b"01": "i386", b"02": "x86_64", b"03": "arm", b"04": "aarch64", b"05": "ppc64", b"06": "ppc64le"}
_EMULATORS |= {b"11": "s390x", b"12": "riscv64", b"13": "loongarch64"}


class Image:
    """An open SIF file, and where in it the root file system lies.

    It is opened once here: the file whose table was read is the one that is mounted, whatever takes its name meanwhile.

    Attributes:
        fd: File descriptor.
        offset: Start of the file system, bytes.
        size: Its length, bytes.
        arch: The SIF format's code of the processor that it is for.
    """

    def __init__(self, fd: int, offset: int, size: int, arch: bytes) -> None:
        self.fd = fd
        self.offset = offset
        self.size = size
        self.arch = arch

    @property
    def name(self) -> str:
        """A path by which every process that has inherited the file descriptor can open the same file."""
        return f"/proc/self/fd/{self.fd}"


def open_image(path: str, fd: int = -1) -> Image:
    """Return a SIF file, open, with the place of its primary squashfs partition.

    Args:
        path: The file.
        fd: A file descriptor of it where it is open already.

    Raises:
        RunError: There is no partition that can be mounted here.
        SifError: The file is no SIF, or damaged.
        OSError: It cannot be read.
    """
    if fd < 0:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        raise RunError("is a folder, not a SIF file", where=path, hint="--runtime apptainer can run it")
    try:
        table = read_table(fd)
    except SifError as error:
        raise error.within(path) from None
    row = table.primary
    if row is None or not row[SIZE]:
        raise _refusal(path, table)
    if int.from_bytes(row[EXTRA][:4], "little", signed=True) != _SQUASHFS:
        raise RunError(
            "the root file system is no plain squashfs",
            where=path,
            hint="run it with --runtime apptainer or singularity",
        )
    return Image(fd, row[OFFSET], row[SIZE], row[EXTRA][8:10])


def _refusal(path: str, table: Table) -> RunError:
    """Return why a file without a root file system cannot be run."""
    if any(row[TYPE] == _OCI_ROOT_INDEX for row in table.rows):
        return RunError(
            "an OCI-SIF has no root file system of its own", where=path, hint="run it with --runtime singularity"
        )
    return RunError("there is no root file system in this SIF file", where=path)


def check_machine(path: str, image: Image) -> None:
    """Refuse an image for another processor, unless the kernel has an emulator for it."""
    machines = _MACHINES.get(image.arch)
    here = os.uname().machine
    if machines is None or here in machines:
        return
    name = _EMULATORS.get(image.arch, "")
    if os.path.exists(f"/proc/sys/fs/binfmt_misc/qemu-{name}"):
        return
    raise RunError(
        f"the image is for {machines[0]}, this machine is {here}",
        where=path,
        hint=f"pull it with --arch for this machine, or install qemu-user-static ({name})",
    )
