"""What Apptainer and SingularityCE made of small images (the corpus' ``golden`` folder), and what we make of them.

Both sides become facts: a flat dictionary ``(what, path) -> value``, so that comparing is comparing dictionaries and
every difference has a name that ``tests/golden/allowed.json`` can list.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from fnmatch import fnmatchcase
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from sifmake.oci.model import Descriptor, Image, ImageConfig, Layer, Platform
from support.corpus import CORPUS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

GOLDEN = CORPUS / "golden"
EPOCH = 1612325106
"""``created`` of all golden images, 2021-02-03T04:05:06Z; what the peers wrote ``now`` is this with us."""
BUILD_DATE = "Wednesday_3_February_2021_4:5:6_UTC"
ANY = {"<NOW-DEPENDENT>", "<VARIES>"}
WILDCARDS = {"<NOW>": (EPOCH, "2021-02-03T04:05:06Z"), "<BUILD-DATE>": (BUILD_DATE,)}
RECORDED_END = "\n<end of runscript body>"
REF = "org.opencontainers.image.ref.name"

Facts = dict[tuple[str, str], Any]


class Difference(NamedTuple):
    """One fact that is not as the peers' is; None stands for a fact that one side does not have."""

    image: str
    what: str
    path: str
    want: Any
    got: Any


def names() -> list[str]:
    """Return the names of all golden images."""
    return [item["name"] for item in json.loads((GOLDEN / "images.json").read_bytes())] if GOLDEN.is_dir() else []


@cache
def record(name: str) -> dict[str, Any]:
    """Return everything that was recorded for an image."""
    return json.loads((GOLDEN / "images" / f"{name}.json").read_bytes())


def sif_record(name: str) -> dict[str, Any] | None:
    """Return what the root pull of Apptainer gave, else SingularityCE's; None where both failed."""
    sifs = record(name)["sif"]
    return sifs.get("A") or sifs.get("S")


def blob(digest: str) -> bytes:
    """Return a blob of the golden store."""
    return (GOLDEN / "oci" / "blobs" / "sha256" / digest.removeprefix("sha256:")).read_bytes()


def _entry(name: str) -> dict[str, Any]:
    index = json.loads((GOLDEN / "oci" / "index.json").read_bytes())
    return next(item for item in index["manifests"] if item["annotations"][REF] == name)


def image(name: str) -> Image:
    """Return a golden image as a source gives it; of an index the one for linux/amd64."""
    digest = _entry(name)["digest"]
    document = json.loads(blob(digest))
    while "manifests" in document:
        wanted = [m for m in document["manifests"] if m["platform"] == {"architecture": "amd64", "os": "linux"}]
        digest = wanted[0]["digest"]
        document = json.loads(blob(digest))
    raw = blob(document["config"]["digest"])
    config = json.loads(raw)
    diff_ids = tuple(config["rootfs"]["diff_ids"])
    platform = Platform(config.get("os", ""), config.get("architecture", ""), config.get("variant", ""))
    return Image(
        digest=digest,
        manifest=blob(digest),
        config_descriptor=_descriptor(document["config"]),
        config=ImageConfig(raw, config, platform, diff_ids),
        layers=tuple(
            Layer(_descriptor(item), diff_id) for item, diff_id in zip(document["layers"], diff_ids, strict=True)
        ),
    )


def _descriptor(item: dict[str, Any]) -> Descriptor:
    return Descriptor(item["mediaType"], item["digest"], item["size"])


def write_one_image_layout(name: str, to: Path) -> Path:
    """Write an OCI layout that holds one golden image, as the peers pulled it."""
    (to / "blobs" / "sha256").mkdir(parents=True)
    entry = _entry(name)
    _copy_blobs(entry["digest"], to)
    flat = "golden.flat" in entry["annotations"]
    manifests = json.loads(blob(entry["digest"]))["manifests"] if flat else [entry]
    (to / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": manifests}))
    (to / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    return to


def _copy_blobs(digest: str, to: Path) -> None:
    data = blob(digest)
    (to / "blobs" / "sha256" / digest.removeprefix("sha256:")).write_bytes(data)
    try:
        document = json.loads(data)
    except ValueError:
        return
    if isinstance(document, dict) and "schemaVersion" in document:
        inner = [*document.get("manifests", []), *document.get("layers", []), document.get("config")]
        for item in inner:
            if item:
                _copy_blobs(item["digest"], to)


# --- facts ------------------------------------------------------------------------------------------------------


def tree_facts(rows: Iterable[Mapping[str, Any]], groups: Iterable[Iterable[str]]) -> Facts:
    """Return facts of a tree's rows by the names of the golden columns, without the sizes of directories."""
    facts: Facts = {}
    for row in rows:
        for column in ("type", "mode", "uid", "gid", "mtime", "nlink", "target", "rdev", "sha256"):
            if row[column] is not None:
                facts[f"tree.{column}", row["path"]] = row[column]
        if row["type"] != "d":
            facts["tree.size", row["path"]] = row["size"]
        for name, value in (row["xattrs"] or {}).items():
            facts["tree.xattr", f"{row['path']} {name}"] = value
    for group in groups:
        facts["tree.hardlinks", min(group)] = sorted(group)
    return facts


def golden_tree(found: dict[str, Any], columns: list[str]) -> Facts:
    return tree_facts((dict(zip(columns, row, strict=True)) for row in found["tree"]), found["hard_link_groups"])


def document_facts(deffile: str, inspect: Mapping[str, Any], oci_config_raw: str) -> Facts:
    """Return facts of the three documents of a SIF."""
    facts: Facts = {("oci-config", ""): oci_config_raw}
    for line in deffile.splitlines():
        key, _, value = line.partition(": ")
        facts["deffile", key] = value
    attributes = inspect["data"]["attributes"]
    facts["inspect.type", ""] = inspect["type"]
    facts["inspect.order", ""] = list(attributes)
    for key, value in attributes.items():
        if key in ("environment", "labels"):
            facts |= {(f"inspect.{key}", name): text for name, text in value.items()}
        elif key == "runscript":
            facts |= runscript_facts(value)
        elif key == "deffile":
            facts["inspect.deffile", ""] = value.split("\n")[0]
        else:
            facts[f"inspect.{key}", ""] = value
    return facts


def runscript_facts(text: str) -> Facts:
    """Return the parts of a runscript that come from the image: both word lists and the words that are put in front."""
    head, _, body = text.partition("\n\n")
    if RECORDED_END in body:
        words = body[body.index("\n") : body.index(RECORDED_END)].split("\nset -- ")[1:]
    else:
        words = re.findall(r'^set -- (.*?) "\$@"$', body, re.MULTILINE | re.DOTALL)
    return {("runscript.head", ""): head, ("runscript.words", ""): list(dict.fromkeys(words))}


# --- comparing --------------------------------------------------------------------------------------------------


def matches(want: Any, got: Any) -> bool:
    """Tell whether a value is the recorded one, marks of the recording included."""
    if isinstance(want, str) and want in ANY:
        return got is not None
    if isinstance(want, str) and want in WILDCARDS:
        return got in WILDCARDS[want]
    return want == got


def compare(name: str, want: Facts, got: Facts) -> list[Difference]:
    keys = sorted(want.keys() | got.keys())
    return [
        Difference(name, *key, want.get(key), got.get(key)) for key in keys if not matches(want.get(key), got.get(key))
    ]


class Allowed:
    """The reviewed list of differences that are meant.

    An item has ``what``, ``path`` and optionally ``image``: shell patterns, or lists of them. ``fault`` is the number
    under which the corpus' README calls it a peer's fault; ``reason`` says why it is right.
    """

    def __init__(self, path: Path) -> None:
        self.items: list[dict[str, Any]] = json.loads(path.read_bytes())
        self.used: dict[int, set[str]] = defaultdict(set)

    def remaining(self, differences: Iterable[Difference]) -> Iterator[Difference]:
        """Give the differences that no item covers."""
        for difference in differences:
            covering = [n for n, item in enumerate(self.items) if _covers(item, difference)]
            for number in covering:
                self.used[number].add(difference.image)
            if not covering:
                yield difference


def _covers(item: dict[str, Any], difference: Difference) -> bool:
    fields = {"what": difference.what, "path": difference.path, "image": difference.image}
    return all(_fits(item.get(field, "*"), value) for field, value in fields.items())


def _fits(patterns: str | list[str], value: str) -> bool:
    return any(fnmatchcase(value, pattern) for pattern in ([patterns] if isinstance(patterns, str) else patterns))
