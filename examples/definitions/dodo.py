"""Builds the images of config/images.yaml: `doit`."""

from sifmake.doit import *  # noqa: F403
