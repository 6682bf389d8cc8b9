"""The signed document against those that the reference library signed."""

import hashlib
import json

import pytest

from sifmake.sif import DataType, open_sif
from sifmake.signing import dsse, metadata
from sifmake.signing.cleartext import split
from sifmake.signing.hashing import ObjectHashes
from sifmake.signing.metadata import MetadataError
from support.corpus import SIF_IMAGES, needs_corpus
from support.signing import write_sif

HEX = "0" * 64
GOOD = {
    "version": 1,
    "header": {"digest": f"sha256:{HEX}"},
    "objects": [{"relativeId": 0, "descriptorDigest": f"sha256:{HEX}", "objectDigest": f"sha512_256:{HEX}"}],
}


@needs_corpus
@pytest.mark.parametrize(
    "name",
    ["one-group-signed-dsse", "two-groups-signed-dsse", "one-group-signed-pgp", "two-groups-signed-pgp"],
)
def test_document_equals_the_reference_librarys_byte_for_byte(name):
    with open_sif(SIF_IMAGES / f"{name}.sif") as sif:
        hashes = ObjectHashes(sif)
        for signature in sif.find(DataType.SIGNATURE):
            data = sif.read(signature)
            theirs = dsse.decode(data).payload if "dsse" in name else split(data).text
            objects = sif.find(group=signature.linked_group)
            digests = {item.id: hashes.digest(item, "sha256") for item in objects}
            ours = metadata.build(sif.header, objects, min(digests), digests)
            assert ours.encode() == theirs
            assert metadata.decode(theirs) == ours


def test_hashes_of_large_and_empty_objects_are_hashlibs(tmp_path, monkeypatch):
    monkeypatch.setattr("sifmake.signing.hashing.PIECE", 1000)
    path = write_sif(tmp_path / "a.sif")
    with open_sif(path) as sif:
        hashes = ObjectHashes(sif)
        for item in sif.objects:
            data = path.read_bytes()[item.offset : item.end]
            for name in metadata.HASHES:
                assert hashes.digest(item, name) == hashlib.new(name, data).hexdigest()


def test_good_document_is_read():
    document = metadata.decode(json.dumps(GOOD, indent=3).encode())
    assert [str(item.data) for item in document.objects] == [f"sha512_256:{HEX}"]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"version": 2}, "unknown version 2"),
        ({"header": {"digest": "md5:" + "0" * 32}}, "hash 'md5', which is weak"),
        ({"header": {"digest": "sha1:" + "0" * 40}}, "hash 'sha1', which is weak"),
        ({"header": {"digest": "sha256:00"}}, "not in the form"),
        ({"header": {"digest": "sha256:" + "x" * 64}}, "not in the form"),
        ({"header": []}, "not in the form"),
        ({"header": {"digest": 5}}, "not in the form"),
        ({"objects": [{"relativeId": -1}]}, "not in the form"),
        ({"objects": [{**GOOD["objects"][0], "relativeId": True}]}, "not in the form"),
        ({"objects": GOOD["objects"] * 2}, "names an object twice"),
        ({"objects": None}, "not in the form"),
    ],
)
def test_other_documents_are_refused(change, words):
    with pytest.raises(MetadataError, match=words):
        metadata.decode(json.dumps({**GOOD, **change}).encode())


@pytest.mark.parametrize("data", [b"", b"{}", b"[]", b"[" * 100_000, b"\xff", "{}".encode("utf-16"), b"1" * 5000])
def test_what_is_not_a_document_is_refused(data):
    with pytest.raises(MetadataError, match="not in the form"):
        metadata.decode(data)
