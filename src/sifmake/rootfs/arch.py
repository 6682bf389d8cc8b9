"""The architecture of an image's programs, from their ELF headers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from sifmake.layers.entry import FILE

if TYPE_CHECKING:
    from collections.abc import Callable

    from sifmake.flatten.tree import Tree
    from sifmake.layers.entry import Inode

_ELF_HEADER = 20
"""Bytes of an ELF header up to and including ``e_machine``."""

_BITS32, _BITS64 = 1, 2
_PROGRAM_TYPES = (2, 3)
_MACHINES: dict[tuple[int, int, str], str] = {
    (3, _BITS32, "little"): "386",
    (62, _BITS64, "little"): "amd64",
    (40, _BITS32, "little"): "arm",
    (183, _BITS64, "little"): "arm64",
    (21, _BITS64, "big"): "ppc64",
    (21, _BITS64, "little"): "ppc64le",
    (8, _BITS32, "big"): "mips",
    (8, _BITS32, "little"): "mipsle",
    (8, _BITS64, "big"): "mips64",
    (8, _BITS64, "little"): "mips64le",
    (22, _BITS64, "big"): "s390x",
    (243, _BITS64, "little"): "riscv64",
    (258, _BITS64, "little"): "loong64",
}
"""``e_machine``, ``EI_CLASS`` and byte order, with Go's name for each architecture that has a code in the SIF format.
"""

ARCHITECTURES = frozenset(_MACHINES.values())


def elf_architecture(head: bytes) -> str | None:
    """Return the architecture of a program or shared object; None for everything else.

    Args:
        head: The first bytes of the file, at least ``ELF_HEADER`` of an ELF file.
    """
    if len(head) < _ELF_HEADER or head[:4] != b"\x7fELF" or head[5] not in (1, 2):
        return None
    order: Literal["little", "big"] = "little" if head[5] == 1 else "big"
    kind, machine = (int.from_bytes(head[at : at + 2], order) for at in (16, 18))
    return _MACHINES.get((machine, head[4], order)) if kind in _PROGRAM_TYPES else None


def find_architecture(tree: Tree, read_head: Callable[[Inode, int], bytes]) -> str | None:
    """Return the architecture of ``/bin/sh``, else of the first executable by name; None if there is no program."""
    shell = tree.resolve(b"bin/sh")
    if shell is not None:
        found = _architecture(shell, read_head)
        if found:
            return found
    for _, inode in tree.walk():
        if inode.mode & 0o111:
            found = _architecture(inode, read_head)
            if found:
                return found
    return None


def _architecture(inode: Inode, read_head: Callable[[Inode, int], bytes]) -> str | None:
    if inode.kind != FILE or inode.size < _ELF_HEADER:
        return None
    return elf_architecture(read_head(inode, _ELF_HEADER))
