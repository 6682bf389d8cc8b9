"""``sifmake cache``: list, verify, collect, clean, export and import the store; exchange packs with remote stores."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.cli.console import Console, human_size
from sifmake.cli.subcommands import add_action, add_root, examples
from sifmake.errors import SifmakeError, UsageError, one_line
from sifmake.printing import print_json, print_lines
from sifmake.store.collect import parse_size

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from datetime import datetime

    from sifmake.api.cache import Cache
    from sifmake.api.cache_results import CachedFile, CacheRemoval

_NOUNS = {
    "container": "container file(s)",
    "pack": "layer pack(s)",
    "patch": "layer patch(es)",
    "blob": "oci blob file(s)",
}
"""What the summary calls each kind of file; notes on indexes and names are too small to be counted there."""


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the subcommands."""
    add_root(parser, "folder of a project, for its store")
    parser.epilog = examples(
        "sifmake cache gc --max-size 20G            # at night, by cron",
        "sifmake cache export images.tar            # then, where there is no network: sifmake cache import images.tar",
        "sifmake cache push --remote oci://registry.example/site/packs",
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    listing = add_action(actions, "list", "show what the store holds")
    listing.add_argument("-v", "--verbose", action="store_true", help="show every file")
    listing.add_argument("--json", action="store_true", help="print a JSON document")
    add_action(
        actions,
        "verify",
        "check files against their digests and packs against their layers; damaged ones are removed",
    )
    more = "At least one of the two limits is needed."
    collect = add_action(
        actions, "gc", "remove the files that were unused for longest, except those of the last day", more
    )
    collect.add_argument("--max-size", metavar="SIZE", help="size that the store may keep, for example 500M or 20G")
    collect.add_argument("--max-age", metavar="AGE", help="remove files unused for that long, for example 30d or 12h")
    collect.add_argument(
        "--remote",
        nargs="?",
        const="",
        metavar="URI",
        help="delete packs of a registry instead that no lock has named for --max-age (default: the configured one)",
    )
    collect.add_argument(
        "--locks",
        action="append",
        type=Path,
        metavar="DIR",
        help="with --remote, a folder of locks; may be repeated (default: config/locks)",
    )
    clean = add_action(actions, "clean", "empty the store")
    clean.add_argument("-f", "--force", action="store_true", help="do not ask")
    clean.add_argument("-D", "--days", metavar="N", help="only files unused for N days; at least 1")
    for action in (collect, clean):
        action.add_argument("-n", "--dry-run", action="store_true", help="show what would be removed")
    out = add_action(actions, "export", "write the files of images into a tar archive, for a site without a network")
    out.add_argument("-F", "--force", action="store_true", help="replace an existing archive")
    out.add_argument("file", type=Path, metavar="FILE", help="the archive to write; - is standard output")
    out.add_argument(
        "images", nargs="*", metavar="IMAGE", help="digest, name@digest, lock file, or image with a lock (default: all)"
    )
    into = add_action(actions, "import", "check each file of an exported archive and add it to the store")
    into.add_argument("file", type=Path, metavar="FILE", help="the archive; - is standard input")
    into.add_argument(
        "--trust-steps", action="store_true", help="use its layers of build steps without a signature or a lock"
    )
    up = add_action(actions, "push", "upload the packs of images to a registry, for other machines")
    down = add_action(actions, "pull", "fetch and check the packs of images that a remote store has")
    for action in (up, down):
        action.add_argument(
            "images",
            nargs="*",
            metavar="IMAGE",
            help="image with a lock, lock file, or digest (default: all with a lock)",
        )
        action.add_argument(
            "--remote",
            default="",
            metavar="URI",
            help="oci://HOST/REPOSITORY or https://HOST/PATH (default: configured)",
        )


def run(args: argparse.Namespace) -> int:
    """Run one subcommand; returns the exit status."""
    from sifmake.api.cache import Cache

    console = Console(quiet=args.quiet)
    if args.action in ("push", "pull"):
        return _exchange(args, console)
    if args.action == "gc" and (args.remote is not None or args.locks):
        return _collect_remote(args, console)
    actions: dict[str, Callable[[Cache, argparse.Namespace, Console], int]] = {
        "list": _show,
        "verify": _verify,
        "gc": _collect_garbage,
        "clean": _clean_all,
        "export": _export,
        "import": _take_in,
    }
    return actions[args.action](Cache(args.root, progress=console), args, console)


def _show(cache: Cache, args: argparse.Namespace, _: Console) -> int:
    """List the writable store."""
    files = cache.files()
    if args.json:
        print_json(_document(cache, files))
        return 0
    lines = _table(files) if args.verbose else []
    shared = sum(file.shared for file in files)
    more = f", {human_size(shared)} of it in blocks shared with other files" if shared else ""
    print_lines([*lines, _summary(files), f"Total space used: {human_size(sum(file.size for file in files))}{more}"])
    return 0


def _table(files: Sequence[CachedFile]) -> list[str]:
    rows = [
        f"{_shorten(file.name):<24} {_when(file.used):<20} {human_size(file.size):<12} {_kind(file)}" for file in files
    ]
    return [f"{'NAME':<24} {'LAST USED':<20} {'SIZE':<12} TYPE", *rows, ""]


def _verify(cache: Cache, _: argparse.Namespace, console: Console) -> int:
    """Check every file and remove damaged ones; exit status 1 if a file was damaged or is not trusted."""
    found = cache.verify()
    odd = f", {found.untrusted} not trusted" if found.untrusted else ""
    odd += f", {len(found.unproven)} pack(s) that cannot prove themselves" if found.unproven else ""
    console.info(f"{found.checked} file(s) checked, {found.damaged} damaged{odd}")
    return int(not found)


def _collect_garbage(cache: Cache, args: argparse.Namespace, console: Console) -> int:
    """Remove the files that have been unused for longest, until the limits hold."""
    if args.max_size is None and args.max_age is None:
        raise UsageError("gc needs a limit", hint="give --max-size SIZE or --max-age AGE")
    max_size = parse_size(args.max_size) if args.max_size is not None else None
    done = cache.collect(max_size=max_size, max_age=args.max_age, dry_run=args.dry_run)
    _tell_removed(done, args, console)
    if max_size is not None and done.left > max_size and not args.dry_run:
        console.warning(f"{human_size(done.left)} remain: files used within a day are kept")
    return 0


def _clean_all(cache: Cache, args: argparse.Namespace, console: Console) -> int:
    """Ask, then remove everything."""
    more = "" if args.days is None else f"{args.days}d"
    if not args.force and not args.dry_run:
        found = cache.collect(max_age=more, dry_run=True).removed if more else cache.files()
        _ask(f"This removes {'' if more else 'all '}{len(found)} file(s) in {cache.folder}. Continue? [y/N] ")
    done = cache.collect(max_age=more, dry_run=args.dry_run) if more else cache.clean(dry_run=args.dry_run)
    _tell_removed(done, args, console)
    return 0


def _export(cache: Cache, args: argparse.Namespace, console: Console) -> int:
    """Write an archive of some images, or of all."""
    from sifmake.output_path import STANDARD_STREAM, open_output

    with open_output(args.file, replace=args.force) as file:
        done = cache.export_archive(file, args.images)
    shown = "standard output" if str(args.file) == STANDARD_STREAM else args.file
    console.info(f"{shown}: {done.files} file(s), {human_size(done.size)}")
    return 0


def _take_in(cache: Cache, args: argparse.Namespace, console: Console) -> int:
    """Add the files of an archive to the store."""
    done = cache.import_archive(args.file, trust_steps=args.trust_steps)
    console.info(f"{len(done.new)} file(s) added, {done.known} already in the store")
    if done.steps and not args.trust_steps:
        hint = "they count if a trusted key signed them or the lock of steps names their layers (--trust-steps: always)"
        console.info(f"{done.steps} note(s) on steps of builds added; {hint}")
    if done.left_out:
        console.info(f"{len(done.left_out)} note(s) on indexes left out: the archive lacks the indexes that prove them")
    for key in done.unproven:
        console.warning(f"pack {key} cannot be compared with its layer; keep it only if you trust where it comes from")
    return 0


def _exchange(args: argparse.Namespace, console: Console) -> int:
    """Exchange packs with a remote store."""
    from sifmake.api.remote_store import RemoteStore

    remote = RemoteStore(args.root, args.remote, progress=console)
    if args.action == "push":
        pushed = remote.push(args.images)
        for name in pushed.left_out:
            why = "the store has no pack of it that others could check"
            console.warning(f"{name}: not pushed, because {why}; build its image first")
        console.info(f"{len(pushed.uploaded)} pack(s) pushed, {pushed.known} already there")
        return 0
    pulled = remote.pull(args.images)
    absent = f", {len(pulled.missing)} not in the remote store" if pulled.missing else ""
    console.info(f"{len(pulled.fetched)} pack(s) fetched, {pulled.known} already in the store{absent}")
    return 0


def _collect_remote(args: argparse.Namespace, console: Console) -> int:
    """Delete packs of a registry that no lock has named for some time."""
    from sifmake.api.remote_store import RemoteStore

    if args.max_age is None or args.max_size is not None or args.remote is None:
        raise UsageError("gc of a remote store goes by age", hint="give --remote and --max-age AGE, for example 30d")
    remote = RemoteStore(args.root, args.remote, progress=console)
    done = remote.collect(args.max_age, args.locks or (), dry_run=args.dry_run)
    verb = "would delete" if args.dry_run else "deleted"
    for tag in done.removed:
        console.info(f"{verb} {tag}")
    console.info(f"{verb} {len(done.removed)}, {len(done.waiting)} unused for a shorter time, {done.kept} in use")
    return 0


def _tell_removed(done: CacheRemoval, args: argparse.Namespace, console: Console) -> None:
    verb = "would remove" if args.dry_run else "removed"
    for file in done.removed:
        console.info(f"{verb} {file.kind} {file.name} ({human_size(file.size)})")
    for file, why in done.kept:
        console.warning(f"cannot remove {file.path}: {why}")
    console.info(f"{verb} {len(done.removed)} file(s), {human_size(done.size)}")


def _ask(question: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError("cannot ask for confirmation: no terminal", hint="use --force to skip the question")
    if input(question).strip().lower() not in ("y", "yes"):
        raise SifmakeError("nothing was removed")


def _document(cache: Cache, files: Sequence[CachedFile]) -> dict[str, object]:
    return {
        "store": str(cache.folder),
        "read_only": [str(path) for path in cache.read_only_folders],
        "total": sum(file.size for file in files),
        "files": [_row(file) for file in files],
    }


def _row(file: CachedFile) -> dict[str, object]:
    row = {"type": file.kind, "name": file.name, "size": file.size, "used": _when(file.used), "shared": file.shared}
    return row | ({"title": file.title} if file.title else {})


def _kind(file: CachedFile) -> str:
    return f"{file.kind}  {one_line(file.title)}" if file.title else file.kind


def _summary(files: Sequence[CachedFile]) -> str:
    parts = []
    for kind, noun in _NOUNS.items():
        sizes = [file.size for file in files if file.kind == kind]
        if kind == "patch" and not sizes:
            continue
        parts.append(f"{len(sizes)} {noun} using {human_size(sum(sizes))}")
    return f"There are {', '.join(parts[:-1])} and {parts[-1]} of space"


def _shorten(name: str) -> str:
    name = one_line(name)
    return name if len(name) <= 22 else f"{name[:19]}..."


def _when(used: datetime) -> str:
    return f"{used:%Y-%m-%d %H:%M:%S}"
