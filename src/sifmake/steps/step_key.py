"""What a step is found by again: the digest of everything that goes into it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass

_STEP_FORMAT = 1
"""Raise it when the same inputs would have to give another key or layer."""


@dataclass(frozen=True)
class StepInputs:
    """What decides what a step of ``%post`` leaves.

    Not among them, because they may differ without making another layer: TERM, proxies, the host's name, the user,
    values of secrets, sifmake's version.

    Attributes:
        below: DiffIDs of the layers below, lowest first; sifmake's own files of ``/.singularity.d`` are left out.
        text: The script after substitution.
        words: The command that runs it.
        environment: Variables that the image's config sets, and those that the caller has chosen.
        reads_scripts: Whether the scripts in ``/.singularity.d/env`` set variables.
        architecture: Of the image.
        network: ``host`` or ``none``.
        binds: Where host folders appear in the image, sorted.
        secrets: Ids of secrets, sorted.
        epoch: SOURCE_DATE_EPOCH, which is also the latest time of the layer's files.
        clean: Patterns of what is left out of the layer, sorted.
        snapshot: SHA-256 of the state of the shell that the step before has left; empty without one.
        carries: Whether the step leaves such a state.
        privileged: Whether it runs with more rights.
        semantics: The runner's number.
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

    @property
    def key(self) -> str:
        """The SHA-256 of canonical JSON of all this, hexadecimal."""
        return digest_of({"format": _STEP_FORMAT, **asdict(self)})


def digest_of(value: object) -> str:
    """Return the SHA-256 of a value as canonical JSON: sorted, without blanks, ASCII."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode("ascii")).hexdigest()
