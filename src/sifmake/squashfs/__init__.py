"""Writing squashfs 4.0: all tables of an image, in memory. Knows nothing of images and layers but their entries."""

from sifmake.squashfs.format import SquashfsOptions
from sifmake.squashfs.inodes import Placement
from sifmake.squashfs.survey import check_tree
from sifmake.squashfs.tables import Draft, Fragment, Tables, draft_tables

__all__ = ["Draft", "Fragment", "Placement", "SquashfsOptions", "Tables", "check_tree", "draft_tables"]
