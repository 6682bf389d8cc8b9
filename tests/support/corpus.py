"""Where the shared corpus is, and the mark for tests that read it."""

from pathlib import Path

import pytest

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpus"
SIF_IMAGES = CORPUS / "sif" / "sylabs+sif" / "test" / "images"
SIF_KEYS = CORPUS / "sif" / "sylabs+sif" / "test" / "keys"
SIF_FROM_PEERS = CORPUS / "generated" / "sif"
SIF_BROKEN = CORPUS / "generated" / "sif-broken"
SECURITY = CORPUS / "security"

_DIVE = CORPUS / "oci/wagoodman+dive/.data"
_LAYOUTS = sorted((CORPUS / "oci/sylabs+oci-tools/test/images").glob("*")) + sorted(
    (CORPUS / "generated/skopeo").glob("*.oci")
)
_LAYOUTS += sorted((CORPUS / "images/busybox-official-amd64").glob("*/*"))
_ARCHIVES = {f"oci-archive:{path}" for path in _DIVE.glob("*-oci-*.tar")}
_ARCHIVES |= {f"oci-archive:{path}" for path in (CORPUS / "generated/skopeo").glob("*.oci-archive.tar")}
_ARCHIVES |= {f"docker-archive:{path}" for path in _DIVE.glob("*.tar") if "-oci-" not in path.name}
_ARCHIVES |= {f"docker-archive:{path}" for path in (CORPUS / "generated").glob("*/*.docker*.tar")}
_ARCHIVES |= {f"docker-archive:{path}" for path in CORPUS.glob("oci/google+osv-scalibr/**/*.tar")}
_ARCHIVES |= {f"docker-archive:{path}" for path in CORPUS.glob("oci/eth-cscs+sarus/**/*.tar")}
IMAGE_URIS = sorted({f"oci:{path}" for path in _LAYOUTS} | _ARCHIVES)
"""Every image of the corpus, also those that are refused."""


def needs_corpus(test):
    """Mark a test that reads the corpus; it is skipped where the corpus is absent."""
    missing = pytest.mark.skipif(not CORPUS.is_dir(), reason="../shared/corpus is not on this machine")
    return pytest.mark.corpus(missing(test))
