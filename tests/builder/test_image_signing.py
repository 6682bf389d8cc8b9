"""The stage verify on a login node that allows no further thread."""

from __future__ import annotations

import hashlib
import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from sifmake.builder.image_signing import verify_signed

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("threads", [True, False])
def test_c5_an_unsigned_file_is_hashed_with_and_without_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, threads: bool
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    if not threads:
        monkeypatch.setattr(threading.Thread, "start", refuse)
    (tmp_path / "a.sif").write_bytes(b"image")
    project: Any = SimpleNamespace(configuration=None)
    lock: Any = SimpleNamespace(build=SimpleNamespace(key=""))
    assert verify_signed(project, tmp_path / "a.sif", lock) == {
        "sha256": f"sha256:{hashlib.sha256(b'image').hexdigest()}",
        "signers": [],
        "size": 5,
        "trust": "unsigned",
    }
