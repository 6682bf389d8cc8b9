"""The mark for tests that compare with umoci."""

import os
import shutil

import pytest


def needs_umoci(test):
    """Mark a test that unpacks with umoci as root; it is skipped where that cannot be."""
    missing = shutil.which("umoci") is None or os.geteuid() != 0
    return pytest.mark.umoci(pytest.mark.skipif(missing, reason="needs umoci and root")(test))
