"""The key of a step: the digest of everything that goes into it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

_STEP_FORMAT = 1
"""Increase this number when the same inputs must give another key or layer."""


@dataclass(frozen=True)
class StepInputs:
    """Everything that decides the layer of a step of ``%post``.

    TERM, proxies, the host's name, the user, values of secrets and sifmake's version are left out, because they may
    differ without changing the layer.

    Attributes:
        below: DiffIDs of the layers below, lowest first; sifmake's own files of ``/.singularity.d`` are left out.
        text: The script after substitution.
        words: The command that runs it.
        environment: Variables from the image's config, and those chosen by the caller.
        reads_scripts: Whether the scripts in ``/.singularity.d/env`` set variables.
        architecture: Architecture of the image.
        network: ``host`` or ``none``.
        binds: Where host folders appear in the image, sorted.
        secrets: Ids of secrets, sorted.
        epoch: SOURCE_DATE_EPOCH, which is also the latest time of the layer's files.
        clean: Patterns of paths left out of the layer, sorted.
        snapshot: SHA-256 of the shell's state after the step before; empty if there is none.
        carries: Whether the state of its shell is kept for the next step.
        privileged: Whether it runs with all capabilities.
        semantics: The runner's number for its behaviour.
        renewed: The date on which its lock had it run again; empty if it does not expire.
    """

    below: tuple[str, ...]
    text: str
    words: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    reads_scripts: bool
    architecture: str
    network: str
    binds: tuple[str, ...]
    secrets: tuple[str, ...]
    epoch: int
    clean: tuple[str, ...]
    snapshot: str
    carries: bool
    privileged: bool
    semantics: int
    renewed: str = ""

    @property
    def key(self) -> str:
        """The SHA-256 of all fields as canonical JSON, hexadecimal; an empty date is left out."""
        fields = asdict(self)
        if not self.renewed:
            del fields["renewed"]
        return digest_of({"format": _STEP_FORMAT, **fields})


def digest_of(value: object) -> str:
    """Return the SHA-256 of a value as canonical JSON: sorted, without blanks, ASCII."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
