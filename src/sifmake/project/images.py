"""``config/images.yaml``: the images to build, their sources and their settings."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

from sifmake.errors import BadReferenceError, ConfigError, UsageError
from sifmake.files import exists_quietly
from sifmake.limits import DEFAULT_LIMITS, Limits
from sifmake.project.image_names import check_name
from sifmake.project.yaml_file import YamlFile, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from sifmake.project.definition_settings import DefinitionSettings
    from sifmake.reference import Uri

_DEFAULT_PLATFORM = "linux/amd64"
"""Not this machine's platform, because a committed lock must not depend on where it was made."""


@dataclass(frozen=True)
class ImageSettings:
    """One image to build.

    Attributes:
        name: Name of its lock, records and target.
        source: URI of the image (``from:``, with the tag if ``tags:`` gives one).
        platform: Its platform, ``os/architecture[/variant]``.
        compression: How blocks are compressed, as for :func:`~sifmake.layers.codec.make_codec`.
        sign: Whether the SIF is signed.
        labels: Labels to add.
        test: Command that has to succeed in the image before it is published; empty for none.
        test_network: Network of tests: ``host``, or empty for none.
        where: File, line and key of its declaration.
        definition: How it is built; None for an image that is pulled, and for a prebuilt SIF file.
    """

    name: str
    source: Uri
    platform: str = _DEFAULT_PLATFORM
    compression: str = "gzip"
    sign: bool = True
    labels: dict[str, str] = field(default_factory=dict)
    test: str = ""
    test_network: str = ""
    where: str = ""
    definition: DefinitionSettings | None = None


def load_images(path: Path, limits: Limits = DEFAULT_LIMITS) -> dict[str, ImageSettings]:
    """Read the images of a project in the order of the file, with ``tags:`` and ``platforms:`` expanded.

    Raises:
        ConfigError: The file does not follow its schema, exceeds a limit, or gives two images the same target.
    """
    if not path.exists():
        what = "there is no such file, so this folder is not a project"
        raise ConfigError(what, where=str(path), hint="run `sifmake init`, or name a project's folder with --root")
    file = YamlFile.read(path, limits)
    file.validate("images")
    content = file.value or {}
    defaults = content.get("defaults") or {}
    images: dict[str, ImageSettings] = {}
    count = 0
    for name, given in (content.get("images") or {}).items():
        where = file.place(["images", name])
        check_name(name, where)
        count += _count(given)
        if count > limits.images:
            what = f"the file declares more than {limits.images} images (limit images)"
            raise ConfigError(what, where=where, hint="split the project, or raise the limit in sifmake.yaml")
        source = _source(given, where, path.parent.parent)
        for image in _expand(name, source, _with_defaults(defaults, given, source), where):
            _check_made(image.name, name, where)
            if image.name in images:
                other = images[image.name].where
                raise ConfigError(f"the target images/{image.name}.sif is already used by {other}", where=where)
            images[image.name] = image
    return images


def _check_made(made: str, name: str, where: str) -> None:
    """Refuse a name that is valid, but not with a value behind it, such as ``debian:12``."""
    try:
        check_name(made, where)
    except ConfigError as error:
        hint = f"what is listed becomes part of the name: make an entry for this one, like {name}, without a list"
        raise ConfigError(error.what, where=error.where, hint=hint if made != name else error.hint) from None


def _count(given: dict[str, Any]) -> int:
    """Return the number of images that an entry declares."""
    lists = [values for values in (given.get("build-args") or {}).values() if isinstance(values, list)]
    return prod(len(values) for values in (given.get("tags", [0]), given.get("platforms", [0]), *lists))


def find_image(images: dict[str, ImageSettings], name: str) -> ImageSettings:
    """Return one image by name.

    Raises:
        ConfigError: There is no such image; the hint names the nearest.
    """
    if name not in images:
        raise ConfigError(f"there is no image {name!r}", where="config/images.yaml", hint=nearest(name, list(images)))
    return images[name]


def _parsed(text: str, where: str, root: Path | None = None) -> Uri:
    from sifmake.reference.uri import parse_uri

    try:
        return parse_uri(text)
    except BadReferenceError as error:
        hint = f"write ./{text}" if root and text and exists_quietly(root / text) else error.hint
        raise ConfigError(f"{error.where}: {error.what}", where=where, hint=hint) from error


def _source(given: dict[str, Any], where: str, root: Path) -> Uri:
    from sifmake.project.definition_settings import KEYS, built_source
    from sifmake.reference.uri import FILE

    built = built_source(given["from"], root)
    if built is not None:
        if "tags" in given:
            what = f"'tags' has no effect on what is built: {given['from']}"
            raise ConfigError(what, where=where, hint="give 'build-args' lists of values instead")
        return built
    parsed = _parsed(given["from"], where, root)
    if found := [key for key in KEYS if key in given]:
        what = f"{found[0]!r} has no effect on an image that is not built here: {given['from']}"
        raise ConfigError(what, where=where, hint="leave it out, or name a definition file, for example ./tool.def")
    if parsed.is_sif:
        meaningless = ("labels", "compression", "platforms", *(("tags",) if parsed.transport == FILE else ()))
        if found := [key for key in meaningless if key in given]:
            what = f"'{found[0]}' has no effect on a prebuilt SIF file: {given['from']}"
            raise ConfigError(what, where=where, hint="leave it out, or name the container image")
    return parsed


def _with_defaults(defaults: dict[str, Any], given: dict[str, Any], source: Uri) -> dict[str, Any]:
    """Return an image's settings with the defaults, leaving out defaults that do not apply to a prebuilt SIF file."""
    if source.is_sif:
        return {**{key: defaults[key] for key in ("platform", "sign") if key in defaults}, **given, "labels": {}}
    return {**defaults, **given, "labels": {**(defaults.get("labels") or {}), **(given.get("labels") or {})}}


def _expand(name: str, source: Uri, given: dict[str, Any], where: str) -> Iterator[ImageSettings]:
    tags = given.get("tags")
    if tags and _has_tag(source.given):
        raise ConfigError(f"'from' already has a tag or digest, and 'tags' is given too: {source.given}", where=where)
    test, test_network = _test_of(given, source, where)
    for tag in tags or [""]:
        tagged = _parsed(f"{source.given}:{tag}", where) if tag else source
        for values, definition in _definitions(source, given):
            for platform in given.get("platforms") or [""]:
                parts = [name, tag.lower(), *values, _short(platform)]
                yield ImageSettings(
                    name="_".join(part for part in parts if part),
                    source=tagged,
                    platform=_normalise(platform or given.get("platform", _DEFAULT_PLATFORM), where),
                    compression=given.get("compression", "gzip"),
                    sign=given.get("sign", True),
                    labels=given["labels"],
                    test=test,
                    test_network=test_network,
                    where=where,
                    definition=definition,
                )


def _test_of(given: dict[str, Any], source: Uri, where: str) -> tuple[str, str]:
    """Return the command of the test and its network.

    Raises:
        ConfigError: There is neither a command nor a definition, which may have a ``%test``.
    """
    from sifmake.project.definition_settings import BUILT

    test = given.get("test", "")
    if isinstance(test, str):
        return test, ""
    if "command" not in test and source.transport != BUILT:
        raise ConfigError("'test' has no command", where=where, hint="write test: {command: ..., network: host}")
    return test.get("command", ""), "host" if test.get("network") == "host" else ""


def _definitions(source: Uri, given: dict[str, Any]) -> Iterable[tuple[tuple[str, ...], DefinitionSettings | None]]:
    """Return how the images of an entry are built, and the parts that their names get."""
    from sifmake.project.definition_settings import BUILT, definition_settings

    return definition_settings(given) if source.transport == BUILT else (((), None),)


def _has_tag(source: str) -> bool:
    last = re.sub(r"^[a-z-]+:(//)?", "", source).rpartition("/")[2]
    return ":" in last or "@" in last


def _normalise(text: str, where: str) -> str:
    from sifmake.oci.platform import parse_platform

    try:
        return str(parse_platform(text))
    except UsageError as error:
        raise ConfigError(error.what, where=where, hint=error.hint) from error


def _short(platform: str) -> str:
    return "".join(platform.split("/")[1:])
