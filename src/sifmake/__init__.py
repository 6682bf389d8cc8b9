"""Build signed SIF files from container images, and rebuild only what changed."""

__version__ = "0.1.0"
