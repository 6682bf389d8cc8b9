"""Manifests of packs: always the same bytes, read strictly."""

from __future__ import annotations

import json

import pytest

from sifmake.errors import SifmakeError
from sifmake.oci.model import Descriptor
from sifmake.remote.pack_manifest import (
    DSSE,
    PACK,
    STEP,
    annotations_of,
    is_tag,
    name_of,
    read_manifest,
    subject_of,
    write_manifest,
)
from sifmake.store.naming import BLOBS, PACKS, STEPS

KEY = f"{'a' * 64}-gzip6-128k-v2-bdf5f857bfd0df9e"
BLOB = Descriptor(PACK, f"sha256:{'b' * 64}", 12345)
SIGNED = Descriptor(DSSE, f"sha256:{'c' * 64}", 300)


def written(*blobs, **options):
    return write_manifest(blobs, PACK, annotations_of(KEY), **options)


def test_the_bytes_depend_on_the_pack_alone():
    assert written(BLOB) == (
        b'{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",'
        b'"artifactType":"application/vnd.sifmake.pack.v1",'
        b'"config":{"mediaType":"application/vnd.oci.empty.v1+json",'
        b'"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2},'
        b'"layers":[{"mediaType":"application/vnd.sifmake.pack.v1","digest":"sha256:' + b"b" * 64 + b'","size":12345}],'
        b'"annotations":{"sifmake.pack.codec":"gzip6","sifmake.pack.diff-id":"sha256:' + b"a" * 64 + b'"}}'
    )


@pytest.mark.parametrize("plain", [False, True])
def test_what_is_written_is_read(plain):
    found = read_manifest(written(BLOB, SIGNED, plain=plain))
    assert (found.pack, found.statement) == (BLOB, SIGNED)
    assert read_manifest(written(BLOB, plain=plain)).statement is None


def changed(**members):
    return json.dumps({**json.loads(written(BLOB)), **members}).encode()


def blob(**members):
    return {"mediaType": PACK, "digest": BLOB.digest, "size": 1, **members}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"[]",
        b"<html>",
        changed(schemaVersion=1),
        changed(artifactType="application/vnd.example"),
        changed(artifactType=[PACK]),
        changed(config=None),
        changed(layers=None),
        changed(layers=[]),
        changed(layers={}),
        changed(layers=[blob(), blob()]),
        changed(layers=[blob(), blob(mediaType=DSSE), blob(mediaType=DSSE)]),
        changed(layers=[blob(mediaType=DSSE)]),
        changed(layers=[blob(size=-1)]),
        changed(layers=[blob(size="1")]),
        changed(layers=[blob(size=1 << 70)]),
        changed(layers=[blob(digest="sha256:../../etc/passwd")]),
        changed(layers=[blob(digest=f"sha512:{'a' * 128}")]),
        b'{"a":' * 5000,
    ],
)
def test_other_documents_are_refused(data):
    with pytest.raises(SifmakeError):
        read_manifest(data)


def test_a_pack_is_not_a_note_on_a_step():
    with pytest.raises(SifmakeError, match="something else"):
        read_manifest(written(BLOB), STEP)


def test_keys_that_are_too_long_are_no_tags():
    assert is_tag(KEY)
    assert not is_tag(f"{'a' * 128}-gzip6-128k-v2-bdf5f857bfd0df9e")
    assert not is_tag("a+b")


@pytest.mark.parametrize(("kind", "key"), [(PACKS, KEY), (STEPS, "a" * 64), (BLOBS, f"sha256:{'a' * 64}")])
def test_a_collector_knows_what_a_tag_is_about(kind, key):
    assert subject_of(name_of(kind, key)[1]) == "a" * 64
    assert subject_of(f"x-{name_of(kind, key)[1]}") == ""
