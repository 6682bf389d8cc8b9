"""What a certificate says of its subkeys counts only if its primary key says it: anyone can add to a copy."""

from __future__ import annotations

import time

import pysequoia
import pytest

from sifmake.signing import TrustStore, Verdict, verify_file
from sifmake.signing.armor import SIGNATURE_TAG, packets
from sifmake.signing.pgp_packets import PUBLIC_KEY, PUBLIC_SUBKEY
from sifmake.signing.primary_signature import made_by_primary
from support.pgp_craft import (
    LONG_AGO,
    OLD,
    CraftedKey,
    Subkey,
    certificate,
    clear_signed,
    crafted_sif,
    created,
    packet,
    subpacket,
)

DAY = 86_400
SUITES = [
    getattr(pysequoia.CipherSuite, name)
    for name in ("Cv25519", "RSA3k", "P256", "P384", "P521", "RSA2k", "RSA4k")
    if hasattr(pysequoia.CipherSuite, name)
]


@pytest.mark.parametrize("suite", SUITES, ids=str)
def test_real_bindings_are_the_primary_keys(suite):
    cert = pysequoia.Tsk.generate("A <a@x>", cipher_suite=suite).extract_certificate()
    found = packets(bytes(cert))
    (primary,) = (body for tag, body in found if tag == PUBLIC_KEY)
    checked = 0
    for number, (tag, subkey) in enumerate(found):
        following = found[number + 1 : number + 2]
        if tag == PUBLIC_SUBKEY and following[0][0] == SIGNATURE_TAG:
            signature = following[0][1]
            assert made_by_primary(primary, subkey, signature) is True
            broken = signature[:-1] + bytes([signature[-1] ^ 1])
            assert made_by_primary(primary, subkey, broken) is False
            assert made_by_primary(primary, subkey[:-1] + bytes([subkey[-1] ^ 1]), signature) is False
            checked += 1
    assert checked


A, SUB, EVIL = CraftedKey(), CraftedKey(), CraftedKey()
ISSUER = subpacket(27, b"\2") + A.whole
NEW, SHORT = created(time.time() - 100) + ISSUER, created(time.time() - 100) + subpacket(9, (1000).to_bytes(4)) + ISSUER
REVOKED = created(time.time() - 100) + subpacket(29, b"\3retired") + A.whole


def added(by, claims, kind=0x18, **how):
    return packet(2, by.sign(A.hashed + SUB.hashed, claims, A.short, kind=kind, **how))


def judged(tmp_path, data):
    (tmp_path / "a.pgp").write_bytes(data)
    make = lambda text: clear_signed(text, packet(2, SUB.sign_text(text, created(OLD) + SUB.whole)))  # noqa: E731
    return verify_file(crafted_sif(tmp_path / "a.sif", A, make), TrustStore.load([tmp_path / "a.pgp"]))


@pytest.mark.parametrize("hash_number", [8, 10, 12, 99])
@pytest.mark.parametrize("by", [EVIL, SUB])
def test_nobody_else_makes_a_subkey_good_for_longer(tmp_path, by, hash_number):
    expired = certificate(A, "A <a@x>", [Subkey(SUB, valid_for=OLD + DAY - LONG_AGO)])
    for more in (b"", added(by, NEW, hash_number=hash_number)):
        result = judged(tmp_path, expired + more)
        assert result.verdict is Verdict.REVOKED
        assert "expired on 2022-" in result.reasons[0]
    assert judged(tmp_path, expired + added(A, NEW)).verdict is Verdict.VERIFIED


@pytest.mark.parametrize("claims", [(SHORT, 0x18), (REVOKED, 0x28)])
def test_nobody_else_ends_a_subkey(tmp_path, claims):
    good = certificate(A, "A <a@x>", [Subkey(SUB)])
    assert judged(tmp_path, good + added(EVIL, *claims)).verdict is Verdict.VERIFIED
    assert judged(tmp_path, good + added(A, *claims)).verdict is Verdict.REVOKED
