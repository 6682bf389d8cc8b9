"""Find the file system in a SIF file quickly, by reading only the header and the table."""

from __future__ import annotations

import os
import stat

from sifmake.errors import SifError
from sifmake.runtime.errors import RunError
from sifmake.sif_table import EXTRA, OFFSET, SIZE, TYPE, read_table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.sif_table import Table

_MARK = ".singularity.d"
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


class OpenImage:
    """An open SIF file and the place of its root file system.

    It is opened only once: the file whose table was read is the one that is mounted, even if its path is replaced.

    Attributes:
        fd: File descriptor.
        offset: Start of the file system, bytes.
        size: Its length, bytes.
        arch: Code of its architecture in the SIF format.
        folder: Path of a sandbox, whose files need no mount; empty for a SIF file.
    """

    def __init__(self, fd: int, offset: int, size: int, arch: bytes, folder: str = "") -> None:
        self.folder = folder
        self.fd = fd
        self.offset = offset
        self.size = size
        self.arch = arch

    @property
    def name(self) -> str:
        """A path with which every process that inherited the file descriptor can open the same file."""
        return f"/proc/self/fd/{self.fd}"


def open_image(path: str, fd: int = -1) -> OpenImage:
    """Return a SIF file, open, with the place of its primary squashfs partition, or a sandbox.

    Args:
        path: The file, or the folder.
        fd: Its file descriptor if it is open already.

    Raises:
        RunError: There is no partition that can be mounted here.
        SifError: The file is not a SIF file, or is damaged.
        OSError: It cannot be read.
    """
    if fd < 0:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if stat.S_ISDIR(os.fstat(fd).st_mode):
        if not os.path.isdir(f"{path}/{_MARK}"):
            from sifmake.not_sif import advise_folder

            what = f"this folder is not a sandbox: it has no {_MARK}"
            raise RunError(what, where=path, hint=advise_folder(path))
        return OpenImage(fd, 0, 0, b"", os.path.realpath(path))
    try:
        table = read_table(fd)
    except SifError as error:
        raise error.within(path) from None
    row = table.primary
    if row is None or not row[SIZE]:
        raise _refusal(path, table)
    if int.from_bytes(row[EXTRA][:4], "little", signed=True) != _SQUASHFS:
        raise RunError(
            "the root file system is not a plain squashfs",
            where=path,
            hint="use --runtime apptainer or --runtime singularity",
        )
    return OpenImage(fd, row[OFFSET], row[SIZE], row[EXTRA][8:10])


def _refusal(path: str, table: Table) -> RunError:
    """Return why a file without a root file system cannot be run."""
    if any(row[TYPE] == _OCI_ROOT_INDEX for row in table.rows):
        return RunError("an OCI-SIF has no root file system", where=path, hint="use --runtime singularity")
    return RunError("the SIF file has no root file system", where=path)


def check_machine(path: str, image: OpenImage) -> None:
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
        hint=f"pull it again with --arch for this machine, or install qemu-user-static ({name})",
    )
