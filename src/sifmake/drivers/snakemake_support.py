"""What the Snakefile needs at parse time: names, missing locks, keys. No network is used and nothing is written."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakemake.exceptions import WorkflowError

from sifmake.builder.host_sections import ALLOW_HOST
from sifmake.errors import SifError, SifmakeError, SigningError
from sifmake.files import sha256_of
from sifmake.project.configuration import KEYS, find_settings, hand_on
from sifmake.project.keys import trusted_files
from sifmake.project.locks import BuildLock
from sifmake.project.project import ALLOW_FILES, Modes, Project
from sifmake.project.records import read_record
from sifmake.project.stage_table import LOCK, TARGET, record_pattern
from sifmake.project.yaml_file import YamlFile
from sifmake.stages.lock_check import check_lock
from sifmake.withheld import without_secrets

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sifmake.project.locks import AnyLock

_GRANTS = ("allow_host_sections", "allow_files")
_MEMORY, _STEPS_MEMORY = 500, 4000
"""Megabytes."""
_MODES = ("locked", "offline", "check", "trust_lock", "update_steps", "accept_steps")
"""Keys of Snakemake's config that sifmake reads, besides ``root``."""


class Workflow:
    """The project as the Snakefile sees it.

    Attributes:
        images: Names of all images.
        missing: Names of those without a lock.
        trusted: Files of trusted public keys, relative to the project.
    """

    def __init__(self, config: Mapping[str, Any], given: Mapping[str, Any]) -> None:
        """Read and check the project.

        Args:
            config: Snakemake's config; its other keys belong to the user's workflow.
            given: The values of ``--config`` on the command line.

        Raises:
            WorkflowError: The configuration is not valid, or a lock does not match it.
        """
        self._run = os.urandom(8).hex()
        root = Path(str(config.get("root", "")))
        project = Project(root, _modes(config, given))
        try:
            settings = find_settings(root)
            _check_config(given, settings)
            self.images = list(project.images)
            self._built = {name for name in self.images if project.images[name].definition is not None}
            self.missing = [name for name in self.images if not project.lock_path(name).exists()]
            named = [name for name in self.images if name not in self.missing or project.modes.locked]
            self._on_host = {name for name in named if _runs_on_host(check_lock(project, name))}
            if project.modes.check:
                _check_targets(project, self.images)
            self._bases = {name: _bases(project, name) for name in self.images}
            self.trusted = [str(path.relative_to(root)) for path in _inside(project, root)]
        except SifmakeError as error:
            raise WorkflowError(str(error)) from None
        _pass_on(project.modes)
        hand_on(settings)

    def bases_of(self, image: str) -> list[str]:
        """Return the files of the images of the project from which an image is built."""
        patterns = (TARGET, record_pattern("publish"))
        return [pattern.format(image=base) for base in self._bases.get(image, ()) for pattern in patterns]

    def missing_locks(self, image: str) -> list[str]:
        """Return the locks that have to be made before that of an image."""
        return [LOCK.format(image=base) for base in self._bases.get(image, ()) if base in self.missing]

    def memory_of_steps(self, image: str) -> int:
        """Return the megabytes that stage ``steps`` of an image may need; installing packages needs most."""
        return _STEPS_MEMORY if image in self._built else _MEMORY

    def run_of(self, image: str) -> str:
        """Return a mark of this run for an image whose definition runs sections on the host; else an empty text.

        Snakemake runs a rule again if its parameters changed, and such sections run at every build.
        """
        return self._run if image in self._on_host else ""

    def start_helper(self) -> None:
        """Start the helper process that runs the stages of this run; it ends with this process.

        If the helper cannot be started or reached, each stage runs in the process that Snakemake starts for it.
        """
        command = [sys.executable, "-m", "sifmake.drivers.stage_helper"]
        self._helper = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=without_secrets(os.environ)
        )
        if self._helper.stdout is not None:
            name, _, value = self._helper.stdout.readline().strip().partition("=")
            os.environ[name or "SIFMAKE_NO_HELPER"] = value


def _runs_on_host(lock: AnyLock) -> bool:
    return isinstance(lock, BuildLock) and bool(lock.inputs.host)


def _bases(project: Project, name: str) -> tuple[str, ...]:
    if project.images[name].definition is None:
        return ()
    from sifmake.stages.definition_inputs import base_images

    return base_images(project, name)


def _inside(project: Project, root: Path) -> list[Path]:
    return [path for path in trusted_files(project.configuration) if path.is_relative_to(root)]


def _modes(config: Mapping[str, Any], given: Mapping[str, Any]) -> Modes:
    """Return the modes; what a file of the project cannot allow counts only on the command line.

    Snakemake adds ``config:`` of a profile, which is a file of the project, to what is typed.
    """
    found = {key: str(config[key]) for key in _MODES if key in config}
    typed = {word.partition("=")[0] for word in sys.argv[1:]}
    found |= {key: str(given[key]) for key in _GRANTS if key in given and key in typed}
    return Modes.find(**found)


def _check_targets(project: Project, names: list[str]) -> None:
    """Refuse finished files that do not have the published bytes, because Snakemake checks only their times.

    Anyone who replaces a file can also replace its record, so the signature must prove that it is the image of its
    lock.
    """
    from sifmake.builder.image_signing import check_published

    for name in names:
        target = project.path(TARGET, name)
        record = read_record(project.record("publish", name))
        if not record or not target.exists():
            continue
        hint = f"run `snakemake --force {target}`"
        if record["result"]["sha256"] != f"sha256:{sha256_of(target)}":
            raise SifmakeError(f"{target} does not have the bytes that were published", hint=hint)
        try:
            check_published(project, name)
        except (SigningError, SifError) as error:
            raise SifmakeError(error.what, where=error.where, hint=hint) from None


def _check_config(given: Mapping[str, Any], path: Path) -> None:
    """Refuse settings on the command line that differ from the file, because jobs read the file."""
    written = (YamlFile.read(path).value or {}) if path.exists() else {}
    changed = sorted(key for key in given.keys() & KEYS if given[key] != written.get(key))
    if changed:
        raise WorkflowError(f"--config cannot set {', '.join(changed)}; write the setting into {path}")


def _pass_on(modes: Modes) -> None:
    """Set variables so that jobs find the ``sifmake`` of this interpreter and know the modes of the run."""
    folder = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[0] != folder:
        os.environ["PATH"] = folder + os.pathsep + os.environ.get("PATH", os.defpath)
    for mode in _MODES:
        os.environ[f"SIFMAKE_{mode.upper()}"] = str(int(getattr(modes, mode)))
    os.environ[ALLOW_HOST] = str(int(modes.allow_host_sections))
    os.environ[ALLOW_FILES] = os.pathsep.join(map(str, modes.allow_files))


def project_root(path: str) -> str:
    """Return the project's folder from the path of a lock, which includes the prefix of a module."""
    return str(Path(path).parents[2])
