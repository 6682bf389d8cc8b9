"""Build from definition files and root file systems."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from sifmake.api.common import REPLACE_HINT, StrPath, as_names, as_path, registry_credentials
from sifmake.errors import OutputPathError, TargetExistsError, UsageError
from sifmake.progress import Progress, Silent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Unpack

    from sifmake.builder.build_request import BuildRequest, HostBind, StepSettings
    from sifmake.builder.build_spec import BuildSpec
    from sifmake.definition.model import Definition
    from sifmake.project.configuration import Configuration

_SECTIONS = frozenset(
    {"pre", "setup", "files", "environment", "runscript", "startscript", "test", "help", "labels", "post"}
)


@dataclass(frozen=True)
class BuiltImage:
    """The result of :func:`build`; it can be used in place of a path.

    Attributes:
        path: The SIF file, or the folder of the sandbox.
        size: Bytes of the SIF file; 0 for a sandbox.
        steps_run: How many scripts of the definition ran.
        steps_cached: How many layers of scripts were taken from the store.
    """

    path: Path
    size: int
    steps_run: int = 0
    steps_cached: int = 0

    def __fspath__(self) -> str:
        return str(self.path)


class BuildOptions(TypedDict, total=False):
    """Options of :func:`build`, the same as those of ``sifmake build``; the defaults are in parentheses.

    Attributes:
        build_args: Values for ``{{ NAME }}`` in the definition.
        build_args_file: File with ``NAME=VALUE`` lines; ``build_args`` take precedence.
        warn_unused_build_args: Whether an unused argument is a warning instead of an error (no).
        sections: Sections to use besides ``%post`` (all).
        test: Whether ``%test`` runs before the target is written (yes).
        binds: ``SRC[:DEST[:ro]]``: files and folders of this machine that ``%post`` sees.
        network: ``host`` or ``none``; if it is empty, ``%post`` has the host's network and ``%test`` has none.
        secrets: Values by id: ``%post`` finds them in ``/run/secrets/ID``, and its layer is searched for them.
        cache_steps: Whether the layers of earlier runs are reused from the store (yes).
        allow_host_sections: Whether ``%pre`` and ``%setup`` may run, on this machine (no).
        privileged_post: Whether ``%post`` keeps all capabilities if root builds (no).
        keep_failed: Whether the tree of a failed script is kept; the error says where (no).
        clean: Profiles of files of ``%post`` to leave out: ``apt``, ``dnf``, ``conda``, ``pip`` (none).
        tmpdir: Folder on a local disk for unpacked trees (``$SIFMAKE_TMPDIR``, ``$TMPDIR``, ``/var/tmp``).
        plain_http: Whether to use plain HTTP for registries (no).
        auth_file: File with registry credentials in Docker's format, instead of the usual files.
        credentials: User name and password for the registry of the base; they take precedence over all others.
        output: Gets the output of scripts, with secrets masked (ignored).
    """

    build_args: Mapping[str, str]
    build_args_file: StrPath | None
    warn_unused_build_args: bool
    sections: Iterable[str]
    test: bool
    binds: Iterable[str]
    network: str
    secrets: Mapping[str, bytes]
    cache_steps: bool
    allow_host_sections: bool
    privileged_post: bool
    keep_failed: bool
    clean: Iterable[str]
    tmpdir: StrPath | None
    plain_http: bool
    auth_file: StrPath | None
    credentials: tuple[str, str] | None
    output: Callable[[bytes], None]


def build(
    spec: StrPath,
    target: StrPath,
    *,
    sandbox: bool = False,
    platform: str = "",
    compression: str = "gzip",
    force: bool = False,
    root: StrPath = ".",
    progress: Progress | None = None,
    **options: Unpack[BuildOptions],
) -> BuiltImage:
    """Build a SIF file or a sandbox, as ``sifmake build`` does; a SIF file is signed if ``root`` configures a key.

    For example, from a definition file::

        image = sifmake.build("tool.def", "tool.sif", build_args={"VERSION": "1.2"})
        print(image.steps_run, image.steps_cached)

    Args:
        spec: A definition file; an image, as for :func:`pull`; a SIF file; a folder or tar archive with a root
            file system; or ``bundle:FOLDER``, an OCI bundle.
        target: The SIF file or folder to write.
        sandbox: Whether to write a folder, as far as the user's rights allow, instead of a SIF file.
        platform: ``OS/ARCH[/VARIANT]`` or ``ARCH[/VARIANT]``; empty for this machine's.
        compression: Compression of blocks: ``gzip``, ``fast`` or ``zstd``, or with a level as in ``gzip:9``.
        force: Whether an existing target is replaced, once the new one is finished (a folder only if it is a sandbox),
            and help and labels of a definition replace those of its base.
        root: Folder whose ``sifmake.yaml``, if there is one, sets the store, registries, limits and key.
        progress: Gets messages and the progress of each layer.
        options: See :class:`BuildOptions`.

    Raises:
        TargetExistsError: The target exists and ``force`` is not set.
        OutputPathError: The target cannot be replaced.
        DefinitionError: The definition is not valid; the message names file, line and section.
        StepError: A script failed, or left a secret.
        SifmakeError: The build failed. An existing target is unchanged.
        OSError: A file cannot be read or written.
    """
    from sifmake.block_compression import full_compression
    from sifmake.builder.build_spec import read_spec
    from sifmake.builder.definition_build import build_definition
    from sifmake.project.project import Project

    told, path = progress or Silent(), Path(target)
    compression = full_compression(compression)
    configuration = Project(Path(root), progress=told).configuration
    arguments = _arguments(options, configuration, told)
    found = read_spec(os.fspath(spec), arguments, configuration.limits)
    _check(found.definition, path, options, told, sandbox=sandbox, force=force)
    if found.image is None and path.is_file() and Path(spec).exists() and path.samefile(spec):
        what = "the output file is what is built from, so it is not replaced"
        raise OutputPathError(what, where=str(path), hint="name another output file")
    if found.image is not None and not sandbox:
        return _pulled(found, path, platform, compression, root, told, options)
    request = _request(found.definition, path, options, platform=platform, compression=compression)
    request = replace(request, sandbox=sandbox, force=force)
    counts = build_definition(request, told, configuration, options.get("output") or _ignore)
    return BuiltImage(path, 0 if sandbox else path.stat().st_size, *counts)


def _ignore(_: bytes) -> None:
    """Ignore the output."""


def _arguments(options: BuildOptions, configuration: Configuration, told: Progress) -> dict[str, str]:
    from sifmake.definition import read_build_arguments

    given = [f"{name}={value}" for name, value in options.get("build_args", {}).items()]
    file = as_path(options.get("build_args_file"))
    return read_build_arguments(given, file, configuration.limits, told.warning)


def _check(
    definition: Definition, path: Path, options: BuildOptions, told: Progress, *, sandbox: bool, force: bool
) -> None:
    """Check for errors before the build starts."""
    from sifmake.output_path import check_output

    if not sandbox:
        check_output(path)
    if os.path.lexists(path) and not force:
        raise TargetExistsError("build target already exists", where=str(path), hint=REPLACE_HINT)
    for warning in definition.warnings:
        told.warning(warning)
    if definition.unused:
        what = f"no {{{{ }}}} of the definition uses the build argument {definition.unused[0]}"
        if not options.get("warn_unused_build_args"):
            hint = "check the name, or use --warn-unused-build-args"
            raise UsageError(what, where=definition.source, hint=hint)
        told.warning(what)


def _pulled(
    found: BuildSpec,
    path: Path,
    platform: str,
    compression: str,
    root: StrPath,
    told: Progress,
    options: BuildOptions,
) -> BuiltImage:
    from sifmake.api.images import pull

    sif = pull(
        found.image.given if found.image else "",
        path.absolute(),
        platform=platform,
        compression=compression,
        force=True,
        plain_http=options.get("plain_http", False),
        auth_file=options.get("auth_file"),
        credentials=options.get("credentials"),
        root=root,
        progress=told,
    )
    return BuiltImage(path, sif.size)


def _request(
    definition: Definition, path: Path, options: BuildOptions, *, platform: str, compression: str
) -> BuildRequest:
    from sifmake.builder.build_request import BuildRequest
    from sifmake.builder.builder import RegistryAccess
    from sifmake.oci.platform import host_platform, parse_platform

    sections = frozenset(as_names(options["sections"])) if options.get("sections") else None
    if sections and (unknown := sorted(sections - _SECTIONS)):
        hint = f"one of {', '.join(sorted(_SECTIONS))}"
        raise UsageError(f"there is no section {unknown[0]!r}", hint=hint)
    user = registry_credentials(options.get("credentials"))
    return BuildRequest(
        definition,
        path,
        platform=parse_platform(platform) if platform else host_platform(),
        compression=compression,
        only=sections,
        test=options.get("test", True),
        test_network=options.get("network") == "host",
        steps=_step_settings(options),
        access=RegistryAccess(options.get("plain_http", False), as_path(options.get("auth_file")), user),
    )


def _step_settings(options: BuildOptions) -> StepSettings:
    from sifmake.builder.build_request import StepSettings
    from sifmake.steps.clean_profiles import clean_patterns

    network = options.get("network") or "host"
    if network not in ("host", "none"):
        raise UsageError(f"unknown network {network!r}", hint="host or none")
    return StepSettings(
        network=network,
        binds=tuple(_bind(text) for text in options.get("binds", ())),
        secrets=dict(options.get("secrets", {})),
        use_cache=options.get("cache_steps", True),
        allow_host=options.get("allow_host_sections", False),
        privileged=options.get("privileged_post", False),
        keep_failed=options.get("keep_failed", False),
        clean=clean_patterns(as_names(options.get("clean", ()))),
        tmpdir=as_path(options.get("tmpdir")),
    )


def _bind(text: str) -> HostBind:
    from sifmake.builder.build_request import HostBind

    source, _, rest = text.partition(":")
    target, _, kind = rest.partition(":")
    target = target or source
    if not source or not target.startswith("/") or kind not in ("", "ro", "rw"):
        raise UsageError(f"{text!r} is not a valid bind", hint="write SRC[:DEST[:ro]], with an absolute path as DEST")
    path = Path(source)
    if not path.exists():
        raise UsageError("there is nothing to bind", where=source, hint="check the path")
    return HostBind(path.absolute(), target, read_only=kind == "ro")
