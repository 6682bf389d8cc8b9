"""Envelopes: the encoding of the DSSE specification, and strictness."""

import base64
import json

import pytest

from sifmake.sif import DataType, open_sif
from sifmake.signing import dsse
from sifmake.signing.metadata import MetadataError
from support.corpus import SIF_IMAGES, needs_corpus

TYPE = "application/vnd.sylabs.sif-metadata+json"


def envelope(**change):
    good = {"payloadType": TYPE, "payload": "aGk=", "signatures": [{"keyid": "", "sig": "AAE="}]}
    return json.dumps({**good, **change}).encode()


def test_signed_bytes_are_those_of_the_dsse_specification():
    assert dsse.pre_authentication(b"hello world") == f"DSSEv1 40 {TYPE} 11 hello world".encode()


@needs_corpus
@pytest.mark.parametrize("name", ["one-group-signed-dsse.sif", "two-groups-signed-dsse.sif"])
def test_decoding_and_encoding_the_reference_librarys_envelope_gives_it_back(name):
    with open_sif(SIF_IMAGES / name) as sif:
        for item in sif.find(DataType.SIGNATURE):
            data = sif.read(item)
            decoded = dsse.decode(data)
            assert dsse.encode(decoded.payload, decoded.signatures) == data


def test_missing_key_id_is_an_empty_one():
    decoded = dsse.decode(envelope(signatures=[{"sig": "AAE="}]))
    assert decoded.signatures == (dsse.DsseSignature("", b"\0\1"),)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"[]",
        b"{" * 100_000,
        envelope(payloadType="text/plain"),
        envelope(payload="aGk"),
        envelope(payload="aGl="),
        envelope(payload="aGk=\n"),
        envelope(payload=1),
        envelope(signatures=[]),
        envelope(signatures=[{"keyid": ""}]),
        envelope(signatures=[{"keyid": 1, "sig": "AAE="}]),
        envelope(signatures=[{"keyid": "", "sig": "AAE=", "cert": ""}]),
        envelope(signatures=["AAE="]),
        envelope(more=1),
        envelope()[:-1] + b', "payload": "' + base64.b64encode(b"other") + b'"}',
        envelope().decode().encode("utf-16-le"),
    ],
)
def test_anything_but_an_envelope_is_refused(data):
    with pytest.raises(MetadataError):
        dsse.decode(data)
