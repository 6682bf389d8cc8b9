"""The content-addressed store that many processes and hosts share."""

from sifmake.store.store import Store

__all__ = ["Store"]
