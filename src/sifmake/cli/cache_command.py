"""``sifmake cache``: list, verify, collect, clean, export and import the store."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.cli.console import Console, human_size
from sifmake.cli.subcommands import add_action, examples
from sifmake.errors import SifmakeError, StoreError, UsageError, one_line
from sifmake.limits import DEFAULT_LIMITS
from sifmake.printing import print_json, print_lines
from sifmake.project.configuration import FORMER_SETTINGS, SETTINGS
from sifmake.store import Store
from sifmake.store.collect import choose, key_of, parse_age, parse_size, remove
from sifmake.store.items import Item, Stray, list_items, list_odd_marks, walk
from sifmake.store.naming import PACKS, SIFS

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from sifmake.project.project import Project

_NOUNS = {
    "container": "container file(s)",
    "pack": "layer pack(s)",
    "patch": "layer patch(es)",
    "blob": "oci blob file(s)",
}
"""What the summary calls the kinds of files that matter; notes on indexes and names are a line each."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    parser.add_argument(
        "--root", type=Path, default=Path(), metavar="DIR", help="folder of a project, for its store (default: here)"
    )
    parser.epilog = examples(
        "sifmake cache gc --max-size 20G            # at night, by cron",
        "sifmake cache export images.tar            # then, where there is no network: sifmake cache import images.tar",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = add_action(actions, "list", "show what the store holds")
    listing.add_argument("-v", "--verbose", action="store_true", help="show every file")
    listing.add_argument("--json", action="store_true", help="print a JSON document")
    add_action(actions, "verify", "check every file against its digest or checksums; damaged ones are removed")
    more = "At least one of the two limits is needed."
    collect = add_action(actions, "gc", "remove what was not used for longest; what was used within a day stays", more)
    collect.add_argument("--max-size", metavar="SIZE", help="what may remain, like 500M or 20G")
    collect.add_argument("--max-age", metavar="AGE", help="remove what was not used for that long, like 30d or 12h")
    clean = add_action(actions, "clean", "empty the store")
    clean.add_argument("-f", "--force", action="store_true", help="do not ask")
    clean.add_argument("-D", "--days", metavar="N", help="only what was not used for N days; at least one")
    for action in (collect, clean):
        action.add_argument("-n", "--dry-run", action="store_true", help="show what would be removed")
    out = add_action(actions, "export", "write images' files into a tar archive, for a site without a network")
    out.add_argument("-F", "--force", action="store_true", help="replace an existing archive")
    out.add_argument("file", type=Path, metavar="FILE", help="the archive to write; - is standard output")
    out.add_argument(
        "images", nargs="*", metavar="IMAGE", help="digest, name@digest, lock file, or image with a lock; all without"
    )
    into = add_action(actions, "import", "take an exported archive into the store, each file after its check")
    into.add_argument("file", type=Path, metavar="FILE", help="the archive; - is standard input")


def run(args: argparse.Namespace) -> int:
    """Run one subcommand; returns the exit status."""
    console = Console(quiet=args.quiet)
    actions: dict[str, Callable[[Store, argparse.Namespace, Console], int]] = {
        "list": _show,
        "verify": verify,
        "gc": _collect_garbage,
        "clean": _clean_all,
        "export": export,
        "import": _take_in,
    }
    return actions[args.action](_find_store(args.root, console), args, console)


def _find_store(root: Path, console: Console) -> Store:
    """Return the store that the project in a folder uses, else the user's."""
    project = _find_project(root, console)
    return project.store if project else Store.open(progress=console)


def _find_project(root: Path, console: Console) -> Project | None:
    if not any((root / name).exists() for name in (SETTINGS, FORMER_SETTINGS)):
        return None
    from sifmake.project.project import Project

    return Project(root, progress=console)


def _show(store: Store, args: argparse.Namespace, _: Console) -> int:
    """List the writable store."""
    items = list(list_items(store.root, rules=store.rules))
    if args.json:
        print_json(_document(store, items))
        return 0
    lines = _table(items) if args.verbose else []
    print_lines([*lines, _summary(items), f"Total space used: {human_size(sum(item.size for item in items))}"])
    return 0


def _table(items: Sequence[Item]) -> list[str]:
    rows = [
        f"{_shorten(item.name):<24} {_when(item.used):<20} {human_size(item.size):<12} {item.kind}" for item in items
    ]
    return [f"{'NAME':<24} {'LAST USED':<20} {'SIZE':<12} TYPE", *rows, ""]


def verify(store: Store, args: argparse.Namespace, console: Console) -> int:  # noqa: ARG001
    """Check everything and remove what is damaged; exit status 1 when there was any, or something not to be trusted."""
    from sifmake.cli.cache_exchange import why_damaged

    found = [*walk(store.root, rules=store.rules), *list_odd_marks(store.root, store.rules)]
    items = [one for one in found if isinstance(one, Item)]
    strays = [one for one in found if isinstance(one, Stray)]
    for stray in strays:
        console.warning(f"{stray.path}: {stray.why}; it is not used and was left alone: ask who put it there")
    foreign = damaged = 0
    for item in items:
        why = item.why_not()
        if why and item.owner not in (-1, os.geteuid()):
            foreign += 1
            console.warning(f"{item.kind} {item.name}: {why}; it is not used and was left alone")
        elif why := why or why_damaged(store, item):
            damaged += 1
            _drop(item, why, console)
    odd = f", {foreign + len(strays)} not to be trusted" if foreign or strays else ""
    console.info(f"{len(items)} file(s) checked, {damaged} damaged{odd}")
    return int(bool(damaged or odd))


def _drop(item: Item, why: str, console: Console) -> None:
    what = f"{item.kind} {item.name}: {why}"
    try:
        item.remove()
    except (OSError, StoreError) as error:
        console.warning(f"{what}; it cannot be removed: {error}")
    else:
        console.warning(f"{what}; removed, it is made again when it is needed")


def _collect_garbage(store: Store, args: argparse.Namespace, console: Console) -> int:
    """Remove what was not used for longest, until the limits hold."""
    if args.max_size is None and args.max_age is None:
        raise UsageError("gc needs a limit", hint="give --max-size SIZE or --max-age AGE")
    max_size = parse_size(args.max_size) if args.max_size is not None else None
    max_age = parse_age(args.max_age) if args.max_age is not None else None
    items = list(list_items(store.root, rules=store.rules))
    others = (item for path in store.read_only for item in list_items(path, SIFS, PACKS, rules=store.site_rules))
    elsewhere = {key_of(item) or item.name for item in others}
    _remove(choose(items, time.time(), max_size, max_age, elsewhere), store, args, console)
    left = sum(item.size for item in list_items(store.root, rules=store.rules))
    if max_size is not None and left > max_size and not args.dry_run:
        console.warning(f"{human_size(left)} remain: what was used within a day stays")
    return 0


def _clean_all(store: Store, args: argparse.Namespace, console: Console) -> int:
    """Remove everything, after a question."""
    items = list(list_items(store.root, rules=store.rules))
    if args.days is not None:
        items = choose(items, time.time(), max_age=parse_age(f"{args.days}d"))
    if not args.force and not args.dry_run:
        which = "all " if args.days is None else ""
        _ask(f"This removes {which}{len(items)} file(s) in {store.root}. Continue? [y/N] ")
    _remove(items, store, args, console)
    return 0


def export(store: Store, args: argparse.Namespace, console: Console) -> int:
    """Write an archive of some images, or of all."""
    from sifmake.cli.cache_exchange import everything, manifests_of, select
    from sifmake.output_path import open_output
    from sifmake.store.exchange import write_archive

    items = select(store, manifests_of(args.images, args.root)) if args.images else everything(store)
    with open_output(args.file, replace=args.force) as file:
        count, size = write_archive(items, file)
    console.info(f"{args.file}: {count} file(s), {human_size(size)}")
    return 0


def _take_in(store: Store, args: argparse.Namespace, console: Console) -> int:
    """Take the files of an archive into the store."""
    from sifmake.cli.cache_exchange import check_pack
    from sifmake.store.exchange import read_archive

    project = _find_project(args.root, console)
    limits = project.configuration.limits if project else DEFAULT_LIMITS
    done = read_archive(store, args.file, lambda path: check_pack(path, limits), limits)
    console.info(f"{len(done.new)} file(s) taken in, {done.known} were there already")
    if done.left_out:
        console.info(f"{len(done.left_out)} note(s) on indexes left out: the indexes that prove them are not there")
    return 0


def _remove(items: Sequence[Item], store: Store, args: argparse.Namespace, console: Console) -> None:
    kept: dict[Item, str] = {}
    if not args.dry_run:
        kept = remove(items)
        store.sweep()
    verb = "would remove" if args.dry_run else "removed"
    gone = [item for item in items if item not in kept]
    for item in gone:
        console.info(f"{verb} {item.kind} {item.name} ({human_size(item.size)})")
    for item, why in kept.items():
        console.warning(f"cannot remove {item.path}: {why}")
    console.info(f"{verb} {len(gone)} file(s), {human_size(sum(item.size for item in gone))}")


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked", hint="use --force to clean without a question")
    if input(question).strip().lower() not in ("y", "yes"):
        raise SifmakeError("nothing was removed")


def _document(store: Store, items: Sequence[Item]) -> dict[str, object]:
    return {
        "store": str(store.root),
        "read_only": [str(path) for path in store.read_only],
        "total": sum(item.size for item in items),
        "files": [
            {"type": item.kind, "name": item.name, "size": item.size, "used": _when(item.used)} for item in items
        ],
    }


def _summary(items: Sequence[Item]) -> str:
    parts = []
    for kind, noun in _NOUNS.items():
        sizes = [item.size for item in items if item.kind == kind]
        if kind == "patch" and not sizes:
            continue
        parts.append(f"{len(sizes)} {noun} using {human_size(sum(sizes))}")
    return f"There are {', '.join(parts[:-1])} and {parts[-1]} of space"


def _shorten(name: str) -> str:
    name = one_line(name)
    return name if len(name) <= 22 else f"{name[:19]}..."


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
