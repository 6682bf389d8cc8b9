"""Notice that an unpacked tree was changed: by a cleaner of temporary files, by hand, or by a fault of the disk.

A tree is not read again. What the kernel says about its files (names, types, modes, sizes, times of the last change) is
noted as a digest when they are unpacked, and compared when a script runs on them; nobody can set the time of the last
change of an inode back (inode(7)). That takes 3 us a file, beside the script.
"""

from __future__ import annotations

import hashlib
import os
import sys

_FACTS = "facts"
"""In the folder of an unpacked tree: the digest."""
_SIZE = 64


def _facts_here() -> str:
    """Return the digest of the files below the current folder; file names may be of any length together."""
    total, folders = hashlib.sha256(), ["."]
    while folders:
        folder = folders.pop()
        rows = []
        try:
            with os.scandir(folder) as found:
                for entry in found:
                    fact = entry.stat(follow_symlinks=False)
                    numbers = f"{fact.st_mode} {fact.st_size} {fact.st_mtime_ns} {fact.st_ctime_ns}"
                    rows.append(f"{entry.name}\0{numbers}\n")
                    if entry.is_dir(follow_symlinks=False):
                        folders.append(f"{folder}/{entry.name}")
        except OSError as error:
            rows.append(f"{error.errno}\n")
        total.update("".join(sorted(rows)).encode("utf-8", "surrogateescape"))
    return total.hexdigest()


def write_facts() -> None:
    """Write the digest of the current folder beside it."""
    with open(f"../{_FACTS}", "w") as file:
        file.write(_facts_here())


def find_changed() -> None:
    """Write which trees have other facts now, as numbers.

    Standard input has ranges of user ids and of group ids, separated by commas, and the folders, all parted by NULs.
    Modules that write such things take longer to import than looking at a thousand files.

    Raises:
        SifmakeError: The namespace with these ids cannot be entered.
    """
    users, groups, *trees = os.fsdecode(sys.stdin.buffer.read()).split("\0")
    if users:  # else this is root
        from sifmake.rootless.namespace import become_root

        become_root(*([words.split() for words in ranges.split(",")] for ranges in (users, groups)))
    sys.stdout.write(" ".join(str(number) for number, tree in enumerate(trees) if _has_changed(tree)))


def _has_changed(tree: str) -> bool:
    try:
        os.chdir(tree)
        with open(f"../{_FACTS}") as file:
            noted = file.read(_SIZE + 1)
    except OSError:
        return True
    return noted != _facts_here()
