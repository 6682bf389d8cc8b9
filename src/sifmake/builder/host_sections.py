"""``%pre`` and ``%setup``: they run on the host, so the user must allow them."""

from __future__ import annotations

import os
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from sifmake.builder.child_output import run_telling
from sifmake.builder.step_runner import Script, StepRunner
from sifmake.definition.problems import DefinitionPlace
from sifmake.definition.script_command import script_command
from sifmake.errors import StepError, UsageError
from sifmake.steps.secrets import MaskedOutput, SecretMask, proxy_passwords
from sifmake.withheld import without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sifmake.definition.model import Section
    from sifmake.steps.stage_tree import StageTree

_ALLOWED = "SIFMAKE_ALLOW_HOST_SECTIONS"
_TRUE = frozenset({"1", "true", "yes"})


class HostSections:
    """Runs these sections, in every build.

    Args:
        runner: Runs ``%setup`` so that it can change the tree.
        source: Name of the definition file, for messages.
        output: Gets their output.
    """

    def __init__(self, runner: StepRunner, source: str, output: Callable[[bytes], None]) -> None:
        self._runner = runner
        self._place = DefinitionPlace(source)
        self._mask = SecretMask(proxy_passwords(os.environ))
        self._output = output

    def run_pre(self, section: Section) -> None:
        """Run ``%pre``.

        Raises:
            UsageError: The section is not allowed.
            StepError: The script failed.
        """
        self._check_allowed(section)
        with TemporaryDirectory(prefix="sifmake-pre-") as folder:
            script = Path(folder, "pre.script")
            script.write_bytes(section.text.encode("utf-8", "surrogateescape"))
            words = script_command(section, str(script), self._place)
            with self._masked() as write:
                status = run_telling(words, write, environment=without_secrets(os.environ))
        self._check_status(section, status, 0)

    def set_up(self, section: Section, tree: StageTree, epoch: int) -> None:
        """Run ``%setup`` and apply the layer of its changes to the tree; raises like :meth:`run_pre`."""
        self._check_allowed(section)
        from sifmake.rootless.script import SCRIPT

        words = script_command(section, SCRIPT, self._place)
        script = Script(section.text, words, without_secrets(os.environ), epoch, on_host=True)
        with self._masked() as write:
            result = self._runner.run(script, tree, write)
        self._check_status(section, result.status, result.line)
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
        if self._runner.settings.allow_host or os.environ.get(_ALLOWED, "").lower() in _TRUE:
            return
        where = f"{self._place.source}:{section.line}"
        hint = f"read it, then allow it with --allow-host-sections, or {_ALLOWED}=1"
        raise UsageError(f"%{section.name} runs commands on this machine, outside the image", where=where, hint=hint)

    def _check_status(self, section: Section, status: int, line: int) -> None:
        if status:
            at = section.lines.of(line - 1) if line else section.line
            where = f"{self._place.source}:{at}: %{section.name}"
            raise StepError(f"the script ended with exit status {status}", where=where)
