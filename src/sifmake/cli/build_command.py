"""``sifmake build``: build from definition files, folders, archives and images, as ``apptainer build`` does."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.cli.build_words import add_build_words, as_secrets, refuse_foreign
from sifmake.cli.image_words import add_image_words, check_output_word, platform_of, writing_image
from sifmake.cli.pull_words import add_registry_words, credentials_of, is_plain_http
from sifmake.cli.subcommands import examples
from sifmake.errors import UsageError
from sifmake.printing import print_json

if TYPE_CHECKING:
    import argparse

    from sifmake.api.building import BuiltImage


def configure(parser: argparse.ArgumentParser) -> None:
    """Add arguments."""
    parser.usage = "sifmake build [options] OUT.sif SPEC"
    parser.epilog = examples(
        "sifmake build tool.sif tool.def",
        "sifmake build --build-arg VERSION=1.2 tool.sif tool.def",
        "sifmake build --sandbox tool/ docker://alpine:3.20",
        "sifmake build tool.sif rootfs.tar.zst           # or a folder, or bundle:FOLDER",
    )
    parser.add_argument(
        "words", metavar="OUT.sif SPEC", nargs="+", help="file or folder to write, and what to build it from"
    )
    parser.add_argument("-F", "--force", action="store_true", help="replace an existing file, help text and labels")
    parser.add_argument("-s", "--sandbox", action="store_true", help="write a folder instead of a SIF file")
    parser.add_argument("-T", "--notest", action="store_true", help="leave out %%test")
    parser.add_argument(
        "--section", action="append", default=[], metavar="NAME[,...]", help="sections to use besides %%post"
    )
    parser.add_argument(
        "--build-arg", action="append", default=[], metavar="NAME=VALUE", help="value of {{ NAME }} in the definition"
    )
    parser.add_argument("--build-arg-file", type=Path, metavar="FILE", help="file with NAME=VALUE lines")
    parser.add_argument("--warn-unused-build-args", action="store_true", help="only warn about unused arguments")
    parser.add_argument(
        "-B", "--bind", action="append", default=[], metavar="SRC[:DEST[:ro]]", help="file or folder that %%post sees"
    )
    add_image_words(parser)
    parser.add_argument(
        "--network", choices=("host", "none"), default="", help="network of %%post and %%test (default: host, none)"
    )
    parser.add_argument(
        "--secret",
        action="append",
        default=[],
        metavar="id=NAME,src=FILE|env=VAR",
        help="let %%post read /run/secrets/NAME; the image must not contain it",
    )
    parser.add_argument("--no-cache-steps", action="store_true", help="run every step of %%post again")
    parser.add_argument(
        "--allow-host-sections", action="store_true", help="let %%pre and %%setup run, outside the image"
    )
    parser.add_argument(
        "--clean", action="append", default=[], metavar="NAME[,...]", help="leave out caches of apt, dnf, conda, pip"
    )
    parser.add_argument("--json", action="store_true", help="print what was built as JSON")
    parser.add_argument(
        "--tmpdir", type=Path, metavar="DIR", help="folder for unpacked trees (default: SIFMAKE_TMPDIR)"
    )
    parser.add_argument("--no-cleanup", action="store_true", help="keep the tree of a failed script")
    parser.add_argument("--privileged-post", action="store_true", help="let %%post keep all capabilities of root")
    add_registry_words(parser)
    add_build_words(parser)


def run(args: argparse.Namespace) -> int:
    """Build; an existing target stays unchanged until the new one is finished."""
    from sifmake.api.building import build

    refuse_foreign(args)
    target, spec = _words(args.words)
    with writing_image(args) as console:
        image = build(
            spec,
            target,
            sandbox=args.sandbox,
            platform=platform_of(args),
            compression=args.compression,
            force=args.force,
            progress=console,
            build_args=_pairs(args.build_arg),
            build_args_file=args.build_arg_file,
            warn_unused_build_args=args.warn_unused_build_args,
            sections=_names(args.section),
            test=not args.notest,
            binds=[bind for text in args.bind for bind in text.split(",")],
            network=args.network,
            secrets=as_secrets(args.secret, os.environ),
            cache_steps=not args.no_cache_steps,
            allow_host_sections=args.allow_host_sections,
            privileged_post=args.privileged_post,
            keep_failed=args.no_cleanup,
            clean=[name for text in args.clean for name in text.split(",")],
            tmpdir=args.tmpdir,
            plain_http=args.no_https or is_plain_http(os.environ),
            auth_file=args.authfile,
            credentials=credentials_of(args),
            output=_print_output,
        )
        if args.json:
            print_json(_document(image))
        else:
            console.info(f"{image.path}: " + (f"{image.size} bytes" if image.size else "a sandbox"))
    return 0


def _document(image: BuiltImage) -> dict[str, object]:
    steps = {"run": image.steps_run, "cached": image.steps_cached}
    return {"path": str(image.path), "size": image.size, "steps": steps}


def _words(words: list[str]) -> tuple[str, str]:
    if len(words) != 2:
        what = "the output file or the source is missing" if len(words) < 2 else "too many arguments"
        raise UsageError(what, hint="sifmake build [options] OUT.sif SPEC")
    check_output_word(words[0])
    return words[0], words[1]


def _pairs(texts: list[str]) -> dict[str, str]:
    found = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise UsageError(f"the build argument {text!r} has no value", hint="write --build-arg NAME=VALUE")
        found[name] = value
    return found


def _names(texts: list[str]) -> list[str]:
    names = [name.strip() for text in texts for name in text.split(",") if name.strip()]
    return [] if "all" in names else [name for name in names if name != "none"] or (["post"] if names else [])


def _print_output(data: bytes) -> None:
    """Show the output of a script on standard error, with the trace of its commands."""
    sys.stderr.buffer.write(data)
    sys.stderr.buffer.flush()
