"""Choosing the files that a store does not need, and removing them while other processes use it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sifmake.errors import StoreError, UsageError
from sifmake.store.naming import name_target, split_sif_name
from sifmake.store.trust import DAY

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    from sifmake.store.items import Item

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)(i?b)?\Z", re.IGNORECASE)
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([hdw]?)\Z", re.IGNORECASE)
_BYTES = {unit: 1024**power for power, unit in enumerate(("", "k", "m", "g", "t"))}
_SECONDS = {"h": 3600, "": DAY, "d": DAY, "w": 7 * DAY}


def choose_items(
    items: Iterable[Item],
    now: float,
    max_size: int | None = None,
    max_age: float | None = None,
    elsewhere: Collection[str] = (),
) -> list[Item]:
    """Return the files to remove: first finished SIFs to which no name points any more, then the least recently used.

    Files used within a day are always kept, because a running job may be about to read them. A name is removed with the
    SIF that it points to or the SIF's manifest, a patch with its pack; names and patches that have lost theirs are
    always removed.

    Args:
        items: Everything in the store.
        now: Seconds since 1970.
        max_size: Bytes that may remain.
        max_age: Seconds without use after which a file is removed.
        elsewhere: Keys of the finished SIFs and packs in read-only stores.
    """
    known = list(items)
    meant = {item: target_of(item) for item in known if item.kind == "name"}
    spared = {"", *meant.values()}
    chosen = _lost_patches(known, now, elsewhere)
    known = _without(known, chosen)
    total = sum(item.size for item in known)
    for item in sorted(known, key=lambda item: (key_of(item) in spared, item.used, item.name)):
        age = now - item.used
        if age < DAY or item.kind == "name":
            continue
        too_old = max_age is not None and age > max_age
        if too_old or (max_size is not None and total > max_size):
            chosen.append(item)
            total -= item.size
    kept = _without(known, chosen)
    chosen += _lost_patches(kept, now, elsewhere)
    left = {key_of(item) for item in kept} | set(elsewhere)
    images = {item.name.partition(":")[2] for item in kept if item.kind == "blob"}
    lost = {"", *(key for key in meant.values() if key not in left and key.partition("-")[0] not in images)}
    return chosen + [name for name, key in meant.items() if now - name.used >= DAY and key in lost]


def _without(items: Iterable[Item], others: Iterable[Item]) -> list[Item]:
    left_out = set(others)
    return [item for item in items if item not in left_out]


def _lost_patches(items: Collection[Item], now: float, elsewhere: Collection[str]) -> list[Item]:
    """Return the patches whose packs no longer exist."""
    packs = {item.name for item in items if item.kind == "pack"} | set(elsewhere)
    patches = [item for item in items if item.kind == "patch" and now - item.used >= DAY]
    return [item for item in patches if item.name.rpartition("-")[0] not in packs]


def target_of(name: Item) -> str:
    """Return the key of the finished SIF to which a name points; empty if the note is damaged or gone."""
    try:
        return name_target(name.read(256))
    except (OSError, StoreError):
        return ""


def key_of(item: Item) -> str:
    """Return the key of a finished SIF; empty for everything else."""
    return split_sif_name(item.name)[0] if item.kind == "container" else ""


def remove(items: Iterable[Item]) -> dict[Item, str]:
    """Remove files, except those that running builds use; return the files that were not removed, with the reason.

    Files that another process has removed meanwhile are not an error.
    """
    kept = {}
    for item in items:
        if item.is_held():
            kept[item] = "a running build uses it"
            continue
        try:
            item.remove()
        except StoreError as error:
            kept[item] = error.what
        except OSError as error:
            kept[item] = error.strerror or str(error)
    return kept


def parse_size(text: str) -> int:
    """Return the bytes for a text such as ``10G``, ``500 MiB`` or ``0``; units are powers of 1024.

    Raises:
        UsageError: The text is not a size.
    """
    return int(_parse(text, _SIZE, _BYTES, "size", "500M, 10G or 1.5T"))


def parse_age(text: str) -> float:
    """Return the seconds for a text such as ``30``, ``30d``, ``12h`` or ``4w``; a bare number means days.

    Raises:
        UsageError: The text is not an age.
    """
    return _parse(text, _AGE, _SECONDS, "age", "30d, 12h or 4w")


def _parse(text: str, form: re.Pattern[str], units: Mapping[str, int], what: str, examples: str) -> float:
    match = form.match(text.strip())
    if not match:
        raise UsageError(f"{text!r} is not a valid {what}", hint=f"write it like {examples}")
    return float(match[1]) * units[match[2].lower()]
