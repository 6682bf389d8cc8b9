"""Indexes that lead back to themselves (row a39); a digest cannot, but documents may come from anywhere."""

from __future__ import annotations

import json

import pytest

from sifmake.errors import SourceError
from sifmake.limits import DEFAULT_LIMITS
from sifmake.oci import Descriptor, Platform, find_manifest

INDEX, MANIFEST = "application/vnd.oci.image.index.v1+json", "application/vnd.oci.image.manifest.v1+json"
ONE, TWO, IMAGE = (f"sha256:{digit * 64}" for digit in "123")


class Circle:
    """Two indexes, each of which lists the other and itself; one of them lists an image too."""

    def __init__(self, platform):
        self.asked = []
        runs_on = {"os": "linux", "architecture": platform}
        leaf = {"mediaType": MANIFEST, "digest": IMAGE, "size": 1, "platform": runs_on}
        circle = [{"mediaType": INDEX, "digest": digest, "size": 1} for digest in (ONE, TWO)]
        self.documents = {ONE: circle, TWO: [*circle, leaf]}

    def manifest(self, descriptor):
        self.asked.append(descriptor.digest)
        entries = self.documents[descriptor.digest]
        return json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries}).encode()

    def blob(self, descriptor):
        raise AssertionError(descriptor)


@pytest.mark.parametrize("root", [ONE, TWO])
def test_a39_a_circle_of_indexes_is_gone_through_once(root):
    circle = Circle("amd64")
    assert find_manifest(Descriptor(INDEX, root, 1), Platform(), circle, DEFAULT_LIMITS).digest == IMAGE
    assert sorted(circle.asked) == sorted([root, ONE, TWO]), "the root, and each index below it once"


def test_a39_a_circle_without_the_image_ends():
    with pytest.raises(SourceError, match="no image for linux/amd64, only for linux/arm64"):
        find_manifest(Descriptor(INDEX, ONE, 1), Platform(), Circle("arm64"), DEFAULT_LIMITS)
