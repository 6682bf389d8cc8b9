"""A progress that keeps what it is told."""

from __future__ import annotations

from sifmake.progress import Silent


class Messages(Silent):
    """Keeps messages; tasks report nothing.

    Attributes:
        infos: Messages.
        warnings: Warnings.
    """

    def __init__(self) -> None:
        self.infos: list[str] = []
        self.warnings: list[str] = []

    def info(self, message: str) -> None:
        self.infos.append(message)

    def warning(self, message: str) -> None:
        self.warnings.append(message)
