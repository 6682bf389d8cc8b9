"""Compare unpacked trees with what was noted when they were made, in a process beside the script that runs on them."""

from __future__ import annotations

import os
import subprocess
from typing import IO, TYPE_CHECKING, Self, cast

from sifmake.rootless.errors import RootlessError
from sifmake.rootless.ids import mapped_words
from sifmake.rootless.interpreter import start_program
from sifmake.rootless.tree_facts import find_changed
from sifmake.rootless.work_tree import TREE

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sifmake.rootless.request import Mode


class TreeCheck:
    """One comparison, which begins at once.

    Args:
        places: The folders of unpacked trees.
        mode: How scripts become root in them.

    Raises:
        OSError: The process cannot be started.
    """

    def __init__(self, places: Sequence[Path], mode: Mode) -> None:
        self._places = places
        self._process = start_program(find_changed, subprocess.PIPE, subprocess.DEVNULL)
        ids = (",".join(map(" ".join, ranges)) for ranges in mapped_words(mode.value))
        with cast("IO[bytes]", self._process.stdin) as records:
            records.write(os.fsencode("\0".join((*ids, *(str(place / TREE) for place in places)))))

    def changed(self) -> list[Path]:
        """Return the folders of trees that were changed, once that is known.

        Raises:
            RootlessError: The process was killed.
        """
        said = cast("IO[bytes]", self._process.stdout).read()
        if self._process.wait():
            raise RootlessError("the process that checks the unpacked trees was killed", hint="run the command again")
        return [self._places[number] for number in map(int, said.split())]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        cast("IO[bytes]", self._process.stdout).close()
        self._process.wait()
