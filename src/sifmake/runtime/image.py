"""Finding the file system in a SIF file, quickly: nothing of the file is read but header and table."""

from __future__ import annotations

import os
import struct

from sifmake.runtime.errors import RunError

HEADER = struct.Struct("<32s10s3s3s16s8q")
DESCRIPTOR = struct.Struct("<i?IIIqqqqqqq128s384s")
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


class Partition:
    """Where the root file system lies in a SIF file, bytes."""

    def __init__(self, offset: int, size: int, arch: bytes) -> None:
        self.offset = offset
        self.size = size
        self.arch = arch


def find_partition(path: str) -> Partition:
    """Return the primary squashfs partition.

    Raises:
        RunError: There is none that can be mounted here.
        SifError: The file is no SIF, or damaged.
        OSError: It cannot be read.
    """
    with open(path, "rb", buffering=0) as file:
        size = os.fstat(file.fileno()).st_size
        head = os.pread(file.fileno(), HEADER.size, 0)
        table = read_table(file.fileno(), head)
    types = set()
    for at in range(0, len(table) - DESCRIPTOR.size + 1, DESCRIPTOR.size):
        fields = DESCRIPTOR.unpack_from(table, at)
        if not fields[1]:
            continue
        types.add(fields[0])
        kind, part, arch = struct.unpack_from("<ii2s", fields[13])
        if fields[0] == PARTITION and part == PRIMARY:
            return checked(path, kind, Partition(fields[5], fields[6], arch), size)
    return refuse(path, types)


def read_table(fd: int, head: bytes) -> bytes:
    """Return the descriptor table, or nothing where the header cannot be true."""
    if len(head) < HEADER.size or head[32:42] != MAGIC:
        return b""
    total, offset = HEADER.unpack(head)[8:10]
    if not 0 < total <= MAX_SLOTS or offset < HEADER.size:
        return b""
    return os.pread(fd, total * DESCRIPTOR.size, offset)


def checked(path: str, kind: int, partition: Partition, size: int) -> Partition:
    """Refuse a partition that lies outside of the file or is no squashfs."""
    if partition.offset < HEADER.size or partition.size <= 0 or partition.offset + partition.size > size:
        return refuse(path, set())
    if kind != SQUASHFS:
        raise RunError(
            "the root file system is no plain squashfs",
            where=path,
            hint="run it with --runtime apptainer or singularity",
        )
    return partition


def refuse(path: str, types: set[int]) -> Partition:
    """Say why a file cannot be run; the full reader knows more."""
    from pathlib import Path

    from sifmake.sif import open_sif

    with open_sif(Path(path)):
        pass
    if OCI_ROOT_INDEX in types:
        raise RunError(
            "an OCI-SIF has no root file system of its own", where=path, hint="run it with --runtime singularity"
        )
    raise RunError("there is no root file system in this SIF file", where=path)


def check_machine(path: str, partition: Partition) -> None:
    """Refuse an image for another processor, unless the kernel has an emulator for it."""
    machines = MACHINES.get(partition.arch)
    here = os.uname().machine
    if machines is None or here in machines:
        return
    name = EMULATORS.get(partition.arch, "")
    if os.path.exists(f"/proc/sys/fs/binfmt_misc/qemu-{name}"):
        return
    raise RunError(
        f"the image is for {machines[0]}, this machine is {here}",
        where=path,
        hint=f"pull it with --arch for this machine, or install qemu-user-static ({name})",
    )
