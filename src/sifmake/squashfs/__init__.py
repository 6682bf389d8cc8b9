"""Write and read squashfs 4.0 images. Depends on the entries of a tree, not on images or layers."""

from sifmake.squashfs.format import SquashfsOptions
from sifmake.squashfs.inodes import Placement
from sifmake.squashfs.survey import check_tree
from sifmake.squashfs.tables import Draft, Fragment, Tables, draft_tables

__all__ = ["Draft", "Fragment", "Placement", "SquashfsOptions", "Tables", "check_tree", "draft_tables"]
