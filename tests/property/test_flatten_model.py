"""Random layer stacks, merged by us and by a slow model that looks up every path again in one flat table.

CI merges 300 stacks; ``SIFMAKE_RELIABILITY=long`` 50,000. What the model does is ADR 2, step by step.
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass

from sifmake.errors import FlattenError
from sifmake.flatten.merge import Merger
from sifmake.layers.entry import DIR, FILE, HARDLINK, OPAQUE, SYMLINK, WHITEOUT, Inode

STACKS = 50_000 if os.environ.get("SIFMAKE_RELIABILITY") == "long" else 300
LINKS = 40
Path = tuple[bytes, ...]


class RefusedError(Exception):
    """The model refuses the stack."""


@dataclass(eq=False)
class Node:
    """What stands at a path; hard links are one object at several."""

    kind: int
    mode: int
    mark: int = 0
    target: bytes = b""


def parts(path: bytes) -> Path:
    return tuple(part for part in path.split(b"/") if part)


class Model:
    """A file system as a table of whole paths."""

    def __init__(self) -> None:
        self.table: dict[Path, Node] = {(): Node(DIR, 0o755)}

    def apply(self, entries: list[Inode]) -> None:
        """Put a layer over the table: what hides first, then what is there."""
        self.hidden: dict[Path, Node] = {}
        solid = {parts(entry.path) for entry in entries if entry.kind not in {WHITEOUT, OPAQUE, SYMLINK}}
        places: dict[Path, Path | None] = {}
        for entry in entries:
            if entry.kind in {WHITEOUT, OPAQUE}:
                # As it is when the first marker in there comes: one before may have hidden the way.
                parent = parts(entry.path)[: len(parts(entry.path)) - (entry.kind == WHITEOUT)]
                if parent not in places:
                    places[parent] = self.lower_folder(parent, solid)
                self.hide(entry, places)
        late: dict[bytes, Inode] = {}
        for entry in entries:
            if entry.kind not in {WHITEOUT, OPAQUE} and not self.place(entry):
                late[entry.path] = entry
        waiting = [entry for entry in reversed([*late.values()]) if not self.place(entry)]
        for entry in reversed(waiting):
            if not self.place(entry):
                raise RefusedError

    def lower_folder(self, path: Path, solid: set[Path]) -> Path | None:
        for end in range(1, len(path) + 1):
            at = self.find(path[:end], follow=False)
            if at is None or (self.table[at].kind == SYMLINK and path[:end] in solid):
                return None
        at = self.find(path)
        return at if at is not None and self.table[at].kind == DIR else None

    def hide(self, entry: Inode, places: dict[Path, Path | None]) -> None:
        said = parts(entry.path)
        folder = places[said if entry.kind == OPAQUE else said[:-1]]
        if folder is None:
            return
        below = [path for path in self.table if path[: len(folder)] == folder and path != folder]
        if entry.kind == WHITEOUT:
            below = [path for path in below if path[len(folder)] == said[-1]]
        parent = said if entry.kind == OPAQUE else said[:-1]
        for path in below:
            self.hidden[parent + path[len(folder) :]] = self.table.pop(path)

    def find(self, path: Path, *, follow: bool = True) -> Path | None:
        """Return the real path, through symlinks; None where there is nothing."""
        at: Path = ()
        todo, followed = [*path], 0
        while todo:
            part = todo.pop(0)
            if self.table[at].kind != DIR:
                return None
            if part == b"..":
                at = at[:-1]
                continue
            if part == b".":
                continue
            node = self.table.get((*at, part))
            if node is None:
                return None
            if node.kind == SYMLINK and (todo or follow):
                followed += 1
                if followed > LINKS:
                    return None
                at = () if node.target.startswith(b"/") else at
                todo = [*parts(node.target), *todo]
                continue
            at = (*at, part)
        return at

    def make_folder(self, path: Path) -> Path:
        at: Path = ()
        todo, followed = [*path], 0
        while todo:
            part = todo.pop(0)
            if part == b".":
                continue
            if part == b"..":
                at = at[:-1]
                continue
            node = self.table.get((*at, part))
            if node is not None and node.kind == SYMLINK:
                followed += 1
                if followed > LINKS:
                    raise RefusedError
                at = () if node.target.startswith(b"/") else at
                todo = [*parts(node.target), *todo]
                continue
            at = (*at, part)
            if node is None or node.kind != DIR:
                self.table[at] = Node(DIR, 0o755)
        return at

    def put(self, at: Path, node: Node) -> None:
        for path in [path for path in self.table if path[: len(at)] == at]:
            del self.table[path]
        self.table[at] = node

    def place(self, entry: Inode) -> bool:
        said = parts(entry.path)
        at = (*self.make_folder(said[:-1]), said[-1])
        if entry.kind == HARDLINK:
            target = self.find(parts(entry.target), follow=False)
            node = self.table[target] if target is not None else self.hidden.get(parts(entry.target))
            if node is None:
                return False
            if node.kind == DIR:
                raise RefusedError
            self.put(at, node)
            return True
        old = self.table.get(at)
        if entry.kind == DIR and old is not None and old.kind == DIR:
            old.mode = entry.mode
            return True
        self.put(at, Node(entry.kind, entry.mode, entry.uid, entry.target))
        return True


def random_path(chance: random.Random) -> bytes:
    return b"/".join(chance.choices([b"a", b"b"], k=chance.choice([1, 1, 1, 2, 2, 2, 3])))


def random_layer(chance: random.Random, files: list[bytes]) -> list[Inode]:
    """Return entries; hard links mostly go to what has been a file, at times to what comes later or never."""
    kinds = [FILE, DIR, SYMLINK, HARDLINK, WHITEOUT, OPAQUE]
    entries = []
    for _ in range(chance.randint(1, 8)):
        kind = chance.choices(kinds, [6, 4, 3, 1.5, 2, 1])[0]
        target = b""
        if kind == SYMLINK:
            target = chance.choice([b".", b"..", b"/", b"a", b"b", b"/a", b"/b", b"../b", b"a/../b", b"nowhere"])
        elif kind == HARDLINK:
            target = chance.choice(files) if files and chance.random() < 0.9 else random_path(chance)
        mode = chance.choice([0o755, 0o700, 0o644])
        entries.append(Inode(random_path(chance), kind, mode, chance.getrandbits(31), 0, 0, target=target))
        if kind in {FILE, HARDLINK}:
            files.append(entries[-1].path)
    if chance.random() < 0.2:
        chance.shuffle(entries)
    return entries


def by_model(layers: list[list[Inode]]) -> dict[bytes, tuple]:
    model = Model()
    for layer in layers:
        model.apply(layer)
    return rows({b"/".join(path): node for path, node in sorted(model.table.items())}, lambda node: node.mark)


def by_us(layers: list[list[Inode]]) -> dict[bytes, tuple]:
    merger = Merger(0)
    for number, layer in enumerate(layers):
        merger.apply(layer, number)
    return rows(dict(sorted(merger.tree.walk())), lambda inode: inode.uid)


def rows(nodes: dict[bytes, Node] | dict[bytes, Inode], mark) -> dict[bytes, tuple]:
    groups: dict[int, bytes] = {}
    for path in sorted(nodes):
        groups.setdefault(id(nodes[path]), path)
    return {
        path: (node.kind, node.mode, node.target, 0 if node.kind == DIR else mark(node), groups[id(node)])
        for path, node in nodes.items()
    }


def copies(layers: list[list[Inode]]) -> list[list[Inode]]:
    return [[Inode(e.path, e.kind, e.mode, e.uid, 0, 0, target=e.target) for e in layer] for layer in layers]


def result(merge, layers):
    try:
        return merge(copies(layers))
    except (FlattenError, RefusedError):
        return "refused"


def test_random_stacks_are_merged_as_the_model_does():
    chance = random.Random(5)
    refused = 0
    for number in range(STACKS):
        files: list[bytes] = []
        layers = [random_layer(chance, files) for _ in range(chance.randint(1, 4))]
        ours, expected = result(by_us, layers), result(by_model, layers)
        refused += ours == "refused"
        assert ours == expected, (number, [[(e.path, e.kind, e.target) for e in layer] for layer in layers])
    assert refused < STACKS // 2
