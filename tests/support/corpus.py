"""Where the shared corpus is, and the mark for tests that read it."""

from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
SIF_IMAGES = CORPUS / "sif" / "sylabs+sif" / "test" / "images"
SIF_KEYS = CORPUS / "sif" / "sylabs+sif" / "test" / "keys"
SIF_FROM_PEERS = CORPUS / "generated" / "sif"
SIF_BROKEN = CORPUS / "generated" / "sif-broken"


def needs_corpus(test):
    """Mark a test that reads the corpus; it is skipped where the corpus is absent."""
    missing = pytest.mark.skipif(not CORPUS.is_dir(), reason="../shared/corpus is not on this machine")
    return pytest.mark.corpus(missing(test))
