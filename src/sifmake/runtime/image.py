"""Finding the file system in a SIF file, quickly: nothing of the file is read but header and table."""

from __future__ import annotations

import os

from sifmake.ranges import read_at
from sifmake.runtime.errors import RunError

HEADER_SIZE = 128
DESCRIPTOR_SIZE = 585
MAGIC = b"SIF_MAGIC\0"
MAX_SLOTS = 16384
PARTITION, OCI_ROOT_INDEX = 0x4004, 0x400A
SQUASHFS, PRIMARY = 1, 2
MACHINES = {
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
EMULATORS = {b"01": "i386", b"02": "x86_64", b"03": "arm", b"04": "aarch64", b"05": "ppc64", b"06": "ppc64le"}
EMULATORS |= {b"11": "s390x", b"12": "riscv64", b"13": "loongarch64"}


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
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        table = read_table(fd, read_at(fd, HEADER_SIZE, 0))
    except IsADirectoryError:
        raise RunError("is a folder, not a SIF file", where=path, hint="--runtime apptainer can run it") from None
    types = set()
    for at in range(0, len(table) - DESCRIPTOR_SIZE + 1, DESCRIPTOR_SIZE):
        if not table[at + 4]:
            continue
        kind = number(table, at, 4)
        types.add(kind)
        if kind == PARTITION and number(table, at + 205, 4) == PRIMARY:
            arch = table[at + 209 : at + 211]
            image = Image(fd, number(table, at + 17, 8), number(table, at + 25, 8), arch)
            return checked(path, number(table, at + 201, 4), image)
    raise refusal(path, types)


def number(data: bytes, at: int, size: int) -> int:
    """Return the number at a place of the header or table."""
    return int.from_bytes(data[at : at + size], "little", signed=True)


def read_table(fd: int, head: bytes) -> bytes:
    """Return the descriptor table, or nothing where the header cannot be true."""
    if len(head) < HEADER_SIZE or head[32:42] != MAGIC:
        return b""
    total, offset = number(head, 88, 8), number(head, 96, 8)
    if not 0 < total <= MAX_SLOTS or offset < HEADER_SIZE:
        return b""
    return read_at(fd, total * DESCRIPTOR_SIZE, offset)


def checked(path: str, kind: int, image: Image) -> Image:
    """Refuse a partition that lies outside of the file or is no squashfs."""
    if image.offset < HEADER_SIZE or image.size <= 0 or image.offset + image.size > os.fstat(image.fd).st_size:
        raise refusal(path, set())
    if kind != SQUASHFS:
        raise RunError(
            "the root file system is no plain squashfs",
            where=path,
            hint="run it with --runtime apptainer or singularity",
        )
    return image


def refusal(path: str, types: set[int]) -> RunError:
    """Return why a file cannot be run; the full reader knows more, and raises SifError."""
    from pathlib import Path

    from sifmake.sif import open_sif

    with open_sif(Path(path)):
        pass
    if OCI_ROOT_INDEX in types:
        return RunError(
            "an OCI-SIF has no root file system of its own", where=path, hint="run it with --runtime singularity"
        )
    return RunError("there is no root file system in this SIF file", where=path)


def check_machine(path: str, image: Image) -> None:
    """Refuse an image for another processor, unless the kernel has an emulator for it."""
    machines = MACHINES.get(image.arch)
    here = os.uname().machine
    if machines is None or here in machines:
        return
    name = EMULATORS.get(image.arch, "")
    if os.path.exists(f"/proc/sys/fs/binfmt_misc/qemu-{name}"):
        return
    raise RunError(
        f"the image is for {machines[0]}, this machine is {here}",
        where=path,
        hint=f"pull it with --arch for this machine, or install qemu-user-static ({name})",
    )
