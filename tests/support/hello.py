"""The hello image of the examples."""

from __future__ import annotations

from support.project import REPOSITORY

LAYOUT = REPOSITORY / "examples/hello/layout"
HELLO = f"oci:{LAYOUT}:latest"
