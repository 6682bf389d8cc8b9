"""Which manifests an index proves: by its own bytes, by those of indexes in it, and for the platform that is wanted."""

from __future__ import annotations

import pytest

from sifmake.errors import IntegrityError, SourceError
from sifmake.limits import DEFAULT_LIMITS
from sifmake.oci import parse_platform
from sifmake.oci.membership import find_candidates, is_member
from support.images import Blobs

AMD64, ARM64 = parse_platform("linux/amd64"), parse_platform("linux/arm64")


class Documents:
    """The available indexes; nothing else may be requested."""

    def __init__(self, blobs):
        self._blobs = blobs

    def manifest(self, descriptor):
        return self._blobs.data[descriptor.digest]

    def blob(self, descriptor):
        raise AssertionError(descriptor)


@pytest.fixture
def blobs():
    return Blobs()


def image(blobs, content, platform="linux/amd64"):
    return blobs.image([content], platform=platform)


def unnamed(descriptor):
    return {key: value for key, value in descriptor.items() if key != "platform"}


def test_an_index_proves_its_own_images_and_no_others(blobs):
    good, other, old = image(blobs, b"good"), image(blobs, b"arm", "linux/arm64"), image(blobs, b"old")
    data = blobs[blobs.index([good, other])["digest"]]
    assert is_member(data, good["digest"], blobs.data.get)
    assert is_member(data, other["digest"], blobs.data.get)
    assert not is_member(data, old["digest"], blobs.data.get)


def test_a_manifest_proves_itself_alone(blobs):
    good, old = image(blobs, b"good"), image(blobs, b"old")
    assert is_member(blobs[good["digest"]], good["digest"], blobs.data.get)
    assert not is_member(blobs[good["digest"]], old["digest"], blobs.data.get)


def test_an_index_in_an_index_proves_as_far_as_it_is_available(blobs):
    good = image(blobs, b"good")
    inner = blobs.index([good])
    data = blobs[blobs.index([inner])["digest"]]
    assert is_member(data, good["digest"], blobs.data.get)
    assert not is_member(data, good["digest"], lambda _: None)
    assert not is_member(data, good["digest"], blobs.data.get, DEFAULT_LIMITS._replace(index_depth=1))


@pytest.mark.parametrize("data", [b"", b"{}", b"[" * 100_000, b'{"manifests": 1}', b"\xff"])
def test_damaged_documents_prove_nothing(data):
    assert not is_member(data, f"sha256:{'1' * 64}", lambda _: None)


def test_what_an_attestation_names_is_not_an_image(blobs):
    good = image(blobs, b"good")
    attestation = blobs.attestation(good)
    assert not is_member(blobs[blobs.index([good, attestation])["digest"]], attestation["digest"], blobs.data.get)


def test_the_platform_chooses_among_members(blobs):
    arm, amd = image(blobs, b"arm", "linux/arm64"), image(blobs, b"amd")
    outer = blobs.index([blobs.index([arm, amd])])
    for platform, wanted in ((AMD64, amd), (ARM64, arm)):
        found = find_candidates(outer["digest"], platform, Documents(blobs), DEFAULT_LIMITS)
        assert (found.manifests, found.by_config) == ((wanted["digest"],), False)


def test_entries_without_a_platform_are_told_apart_by_their_configs(blobs):
    first, second = (unnamed(image(blobs, content)) for content in (b"1", b"2"))
    index = blobs.index([first, second, first])
    found = find_candidates(index["digest"], AMD64, Documents(blobs), DEFAULT_LIMITS)
    assert found.manifests == (first["digest"], second["digest"])
    assert found.by_config
    found = find_candidates(first["digest"], AMD64, Documents(blobs), DEFAULT_LIMITS)
    assert (found.manifests, found.by_config) == ((first["digest"],), True)


def test_no_image_for_the_platform_is_an_error(blobs):
    index = blobs.index([image(blobs, b"arm", "linux/arm64")])
    with pytest.raises(SourceError, match="only for linux/arm64"):
        find_candidates(index["digest"], AMD64, Documents(blobs), DEFAULT_LIMITS)


def test_what_is_not_available_goes_through_and_damage_is_named(blobs):
    with pytest.raises(KeyError):
        find_candidates(f"sha256:{'1' * 64}", AMD64, Documents(blobs), DEFAULT_LIMITS)
    bad = blobs.put(b"{}", "")
    with pytest.raises(IntegrityError):
        find_candidates(bad["digest"], AMD64, Documents(blobs), DEFAULT_LIMITS)
