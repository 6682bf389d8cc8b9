"""Images that definition files become, as the golden records of the corpus describe them."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from typing import TYPE_CHECKING, Any

from sifmake.compare.contents import open_contents
from sifmake.rootfs.fixed import text_of
from sifmake.squashfs.reader import DIRECTORY, FILE, SYMLINK
from support.corpus import CORPUS

if TYPE_CHECKING:
    from pathlib import Path

DEFINITIONS = CORPUS / "definition"
GOOD = sorted(path.stem for path in (DEFINITIONS / "defs").glob("*.def"))
_TYPES = {1: "d", 2: "f", 3: "l", 4: "b", 5: "c", 6: "p", 7: "s"}
_WITHHELD = re.compile(r"<\d+ bytes(?: of apptainer's ([\w.-]+))?[^>]*>")


def make_context(folder: Path) -> None:
    """Lay out the folder in which the records were made: git kept neither links nor modes."""
    for name in ("base", "base2"):
        shutil.copytree(DEFINITIONS / name, folder / name, copy_function=shutil.copyfile)
    shutil.copyfile(DEFINITIONS / "base.oci.tar", folder / "base.oci.tar")
    shutil.copytree(DEFINITIONS / "ctx", folder / "ctx", copy_function=shutil.copyfile)
    for path in (folder / "ctx").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    ctx = folder / "ctx"
    for link, target in (("d/link", "../one.txt"), ("d/dirlink", "sub"), ("dangling", "/nonexistent")):
        (ctx / link).unlink()
        (ctx / link).symlink_to(target)
    (ctx / "hard.txt").unlink()
    os.link(ctx / "one.txt", ctx / "hard.txt")
    (ctx / "empty").mkdir()
    for name, mode in (("two.txt", 0o640), ("d/exe.sh", 0o4755), ("priv", 0o700)):
        (ctx / name).chmod(mode)


def record_of(name: str) -> dict[str, Any]:
    """Return what Apptainer made of a definition."""
    return json.loads((DEFINITIONS / f"apptainer/{name}.json").read_bytes())


def tree_of(sif: Path) -> dict[str, dict[str, Any]]:
    """Return everything in an image in the words of the records."""
    with open_contents(sif) as contents:
        names: dict[int, int] = {}
        nodes = list(contents.walk())
        for node in nodes:
            names[node.reference] = names.get(node.reference, 0) + 1
        known: dict[int, dict[str, Any]] = {}
        for node in nodes:
            if node.reference not in known:
                known[node.reference] = _facts(contents.reader, node, names[node.reference])
        return {f"/{node.path.decode('utf-8', 'surrogateescape')}": dict(known[node.reference]) for node in nodes}


def _facts(reader, node, links: int) -> dict[str, Any]:
    found = {"type": _TYPES[node.kind], "mode": f"0o{node.mode:o}", "uid": node.uid, "gid": node.gid}
    found["nlink"] = 0 if node.kind == DIRECTORY else links
    if node.kind == FILE:
        found |= {"size": node.size, "sha256": reader.digest(node).hex()}
    elif node.kind == SYMLINK:
        found["link"] = node.target.decode()
    if xattrs := reader.read_xattrs(node):
        found["xattrs"] = {key.decode(): value.hex() for key, value in xattrs.items()}
    return found


def text_in(sif: Path, path: str) -> str:
    """Return the text of a file in an image."""
    with open_contents(sif) as contents:
        node = next(node for node in contents.walk() if node.path == path.encode().lstrip(b"/"))
        return b"".join(contents.reader.chunks(node)).decode("utf-8", "surrogateescape")


def with_our_script(text: str, path: str) -> str:
    """Return a recorded text with our script in the place of the peer's, which was left out."""
    match = _WITHHELD.search(text)
    if match is None:
        return text
    script = text_of("env/90-environment.sh") if path.endswith("90-environment.sh") else ""
    return text[: match.start()] + script + text[match.end() :]


def facts_of_text(text: str) -> dict[str, Any]:
    """Return what the record of a file with this text says."""
    data = text.encode("utf-8", "surrogateescape")
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


def record_of_noforce(name: str) -> dict[str, Any]:
    """Return what `inspect` of Apptainer shows of a definition that was built without --force."""
    return json.loads((DEFINITIONS / f"noforce/{name}.json").read_bytes())["inspect --all"]["data"]["attributes"]
