"""``%pre`` and ``%setup``: they run on the host, so the user must allow them."""

from __future__ import annotations

import os
import signal
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sifmake.definition.model import as_bytes
from sifmake.definition.problems import DefinitionPlace
from sifmake.errors import StepError, UsageError
from sifmake.steps.secrets import MaskedOutput, SecretMask, proxy_passwords
from sifmake.withheld import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from sifmake.builder.step_runner import StepRunner
    from sifmake.definition.model import Section
    from sifmake.steps.stage_tree import StageTree

ALLOW_HOST = "SIFMAKE_ALLOW_HOST_SECTIONS"
"""Variable that lets definitions run ``%pre`` and ``%setup``."""
_TRUE = frozenset({"1", "true", "yes"})


class HostSections:
    """Runs these sections, in every build.

    Attributes:
        layers: DiffIDs of the layers of ``%setup``, stage by stage; empty for one without changes.

    Args:
        runner: Runs ``%setup`` so that it can change the tree.
        source: Name of the definition file, for messages.
        output: Gets their output.
        folder: The current folder of ``%pre``; None for that of this process.
    """

    def __init__(
        self, runner: StepRunner, source: str, output: Callable[[bytes], None], folder: Path | None = None
    ) -> None:
        self._runner = runner
        self._folder = folder
        self._place = DefinitionPlace(source)
        self._mask = SecretMask(proxy_passwords(os.environ))
        self._output = output
        self.layers: list[str] = []

    def run_pre(self, section: Section) -> None:
        """Run ``%pre`` as this user; it ends with this process, with everything that it has started.

        Raises:
            UsageError: The section is not allowed.
            StepError: The script failed.
        """
        from tempfile import TemporaryDirectory

        from sifmake.builder.child_output import run_telling
        from sifmake.definition.script_command import script_command
        from sifmake.rootless.guard import run_guarded
        from sifmake.rootless.interpreter import program_words

        self._check_allowed(section)
        with TemporaryDirectory(prefix="sifmake-pre-") as private:
            script = Path(private, "pre.script")
            script.write_bytes(as_bytes(section.text))
            words = [*program_words(run_guarded), str(os.getpid()), *script_command(section, str(script), self._place)]
            folder, environment = str(self._folder) if self._folder else None, without_secrets(os.environ)
            with self._masked() as write:
                status = run_telling(words, write, environment=environment, folder=folder, ending=signal.SIGTERM)
        self._check_status(section, status, 0)

    def set_up(self, section: Section, tree: StageTree, epoch: int, /) -> None:
        """Run ``%setup`` and apply the layer of its changes to the tree; raises like :meth:`run_pre`."""
        from sifmake.builder.step_runner import Script
        from sifmake.definition.script_command import script_command
        from sifmake.rootless.script import SCRIPT

        self._check_allowed(section)

        words = script_command(section, SCRIPT, self._place)
        script = Script(section.text, words, without_secrets(os.environ), epoch, on_host=True)
        with self._masked() as write:
            result = self._runner.run(script, tree, write)
        self._check_status(section, result.status, result.line)
        self.layers.append(result.pack.meta.diff_id if result.pack is not None else "")
        if result.pack is not None:
            tree.apply(result.pack)

    @contextmanager
    def _masked(self) -> Iterator[Callable[[bytes], None]]:
        """Provide a function that passes output on without passwords."""
        masked = MaskedOutput(self._mask, self._output)
        try:
            yield masked.write
        finally:
            masked.end()

    def _check_allowed(self, section: Section) -> None:
        if self._runner.settings.allow_host or os.environ.get(ALLOW_HOST, "").lower() in _TRUE:
            return
        where = f"{self._place.source}:{section.line}"
        hint = f"read it, then allow it with --allow-host-sections, or {ALLOW_HOST}=1"
        raise UsageError(f"%{section.name} runs commands on this machine, outside the image", where=where, hint=hint)

    def _check_status(self, section: Section, status: int, line: int) -> None:
        if status:
            at = section.lines.of(line - 1) if line else section.line
            where = f"{self._place.source}:{at}: %{section.name}"
            raise StepError(f"the script ended with exit status {status}", where=where)


class EarlierHostSections(HostSections):
    """Takes the layers that the sections gave before, and runs nothing."""

    def __init__(self, runner: StepRunner, source: str, layers: Sequence[str]) -> None:
        super().__init__(runner, source, lambda _: None)
        self._maker = runner.maker
        self._waiting = iter(layers)

    def run_pre(self, section: Section) -> None:
        """Do nothing."""

    def set_up(self, section: Section, tree: StageTree, _epoch: int, /) -> None:
        """Apply the layer of an earlier run.

        Raises:
            StepError: The store does not have it any more.
        """
        diff_id = next(self._waiting, None)
        pack = self._maker.find(diff_id) if diff_id else None
        if diff_id is None or (diff_id and pack is None):
            where = f"{self._place.source}:{section.line}: %{section.name}"
            raise StepError("the layer of the last run is not in the store", where=where, hint="run stage steps again")
        self.layers.append(diff_id)
        if pack is not None:
            tree.apply(pack)
