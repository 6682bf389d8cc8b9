"""Container images in, signed SIF files out, as a build system does it."""

__version__ = "0.1.0"
