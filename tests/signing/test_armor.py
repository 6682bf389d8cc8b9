"""Clear-signed texts: the frame, and integers as Go's old library wrote them."""

import base64
import time

import pytest

from sifmake.sif import DataType, open_sif
from sifmake.signing.armor import canonical, dearmored, packets
from sifmake.signing.cleartext import split
from sifmake.signing.metadata import MetadataError
from support.corpus import CORPUS, needs_corpus

ARMOR = b"-----BEGIN PGP SIGNATURE-----\n\n%b\n=AAAA\n-----END PGP SIGNATURE-----"
FRAME = b"-----BEGIN PGP SIGNED MESSAGE-----\n%b\n%b\n" + ARMOR % b"AAAA"
V4 = bytes([4, 1, 1, 8]) + b"\0\2" + b"hh" + b"\0\1" + b"u" + b"\x12\x34"
"""Version 4, text signature, RSA, SHA-256, a hashed and an unhashed area, two bytes of digest."""


def armored(data):
    return ARMOR % base64.b64encode(data)


def test_frame_is_taken_apart():
    signed = split(FRAME % (b"Hash: SHA256\n", b'{"a":1}'))
    assert (signed.text, signed.hashes) == (b'{"a":1}', ("SHA256",))
    assert FRAME.index(b"%b\n%b") + len(b"Hash: SHA256\n\n") == signed.start


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"x" + FRAME % (b"Hash: SHA256\n", b"{}"),
        FRAME % (b"Comment: hello\n", b"{}"),
        FRAME % (b"Hash: SHA256\n", b"- -----BEGIN"),
        FRAME % (b"Hash: SHA256\n", b"{}\n-----BEGIN PGP SIGNED MESSAGE-----\n\n[]"),
        FRAME % (b"Hash: SHA256\n", b"{}") + b"\nmore",
        ARMOR % b"AAAA",
    ],
)
def test_other_frames_are_refused(data):
    with pytest.raises(MetadataError, match="neither a DSSE envelope nor one OpenPGP clear-signed text"):
        split(data)


def test_integer_with_leading_zeros_gets_its_canonical_length():
    body = V4 + b"\x00\x18" + b"\x00\x0f\xff"
    (packet,) = packets(dearmored(canonical(armored(bytes([0xC2, len(body)]) + body))))
    assert packet == (2, V4 + b"\x00\x0c" + b"\x0f\xff")


@pytest.mark.parametrize(
    "header",
    [
        bytes([0x88, 200]),
        bytes([0x89, 0, 200]),
        bytes([0x8A, 0, 0, 0, 200]),
        bytes([0xC2, 192, 8]),
        bytes([0xC2, 255, 0, 0, 0, 200]),
    ],
)
def test_all_forms_of_packet_headers_are_read(header):
    assert packets(header + bytes(200)) == [(2, bytes(200))]


@pytest.mark.parametrize(
    "data",
    [b"\x00", b"\xc2\x05ab", b"\xc2\xe1a", bytes([0xC2, len(V4) + 2]) + V4 + b"\x00\x18", b"\xc2\x01\x04", b"\xc2"],
)
def test_damaged_packets_are_refused(data):
    with pytest.raises(MetadataError, match="damaged"):
        canonical(armored(data))


@needs_corpus
def test_signature_by_apptainer_of_2021_has_an_integer_that_needs_it():
    with open_sif(CORPUS / "sif/apptainer+apptainer/e2e/testdata/busybox_amd64.sif") as sif:
        (item,) = sif.find(DataType.SIGNATURE)
        armor = split(sif.read(item)).armor
    (_, before), (_, after) = packets(dearmored(armor)) + packets(dearmored(canonical(armor)))
    assert len(before) == len(after)
    assert [(old, new) for old, new in zip(before, after, strict=True) if old != new] == [(0x10, 0x0F), (0x00, 0xFF)]


def test_reading_costs_what_the_size_says():
    """Certificates may be flooded with signatures of strangers."""
    start = time.process_time()
    assert len(packets(b"\xc2\x01x" * 300_000)) == 300_000
    with pytest.raises(MetadataError, match="damaged"):
        canonical(armored(bytes([0xC2, 255]) + (len(V4) + 1_000_001).to_bytes(4) + V4 + bytes(1_000_001)))
    assert time.process_time() - start < 4


def test_hostile_frames_are_refused_fast():
    start = time.process_time()
    for piece in (b"-----BEGIN PGP SIGNATURE-----\n", b"-----END PGP SIGNATURE-----\n", b"\n", b"-"):
        with pytest.raises(MetadataError):
            split(b"-----BEGIN PGP SIGNED MESSAGE-----\n\n" + piece * (2_000_000 // len(piece)) + b"!")
    assert time.process_time() - start < 2
