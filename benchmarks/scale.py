"""The size of a run."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True)
class Scale:
    """Sizes of one run.

    Attributes:
        name: Name of the folder in which images are kept.
        content: Minimum bytes of files in the layered image.
        files: Minimum number of files in it.
        big: Bytes in the image of a few large files.
        repeat: How often a figure is measured; the median counts.
        readings: How often an image is read back; the median counts.
        many: Images of the project of many images.
    """

    name: str
    content: int
    files: int
    big: int
    repeat: int
    readings: int
    many: int = 100


FULL = Scale("full", 1_100_000_000, 33_000, 12_000 * MIB, 3, 5, 3_000)
QUICK = Scale("quick", 40_000_000, 1_500, 400 * MIB, 1, 3, 200)
