"""Statements about other things than SIF files: signed for one purpose, and for no other."""

from __future__ import annotations

import json

import pytest

from sifmake.errors import SifmakeError
from sifmake.signing import Passphrase, TrustStore, load_signer
from sifmake.signing.dsse import PAYLOAD_TYPE
from sifmake.signing.statements import open_statement, sign_statement
from support.signing import pem_pair, pgp_pair

KIND = "application/vnd.example+json"


@pytest.fixture
def keys(tmp_path):
    return pem_pair(tmp_path)


def test_what_a_trusted_key_signed_is_read(keys):
    envelope = sign_statement(b"said", KIND, str(keys.secret), Passphrase())
    assert open_statement(envelope, KIND, TrustStore.load([keys.public])) == b"said"
    with pytest.raises(SifmakeError, match="not signed by a trusted key"):
        open_statement(envelope, KIND, TrustStore())


def test_the_type_is_signed_too(keys):
    """Else somebody could have a SIF file signed whose metadata reads as a statement, or the reverse."""
    trust = TrustStore.load([keys.public])
    envelopes = {
        PAYLOAD_TYPE: load_signer(str(keys.secret), Passphrase()).sign(b"{}"),
        KIND: sign_statement(b"{}", KIND, str(keys.secret), Passphrase()),
    }
    for kind, envelope in envelopes.items():
        (other,) = envelopes.keys() - {kind}
        with pytest.raises(SifmakeError, match="DSSE envelope"):
            open_statement(envelope, other, trust)
        renamed = json.dumps({**json.loads(envelope), "payloadType": other}).encode()
        with pytest.raises(SifmakeError, match="not signed by a trusted key"):
            open_statement(renamed, other, trust)


def test_a_changed_statement_and_too_many_signatures_are_refused(keys):
    trust = TrustStore.load([keys.public])
    document = json.loads(sign_statement(b"said", KIND, str(keys.secret), Passphrase()))
    for changes in (
        {"payload": "c2F5cw=="},
        {"signatures": document["signatures"] * 17},
        {"more": 1},
        {"signatures": []},
    ):
        with pytest.raises(SifmakeError):
            open_statement(json.dumps({**document, **changes}).encode(), KIND, trust)


def test_only_pem_keys_sign_statements(tmp_path):
    with pytest.raises(SifmakeError, match="only PEM keys"):
        sign_statement(b"said", KIND, str(pgp_pair(tmp_path).secret), Passphrase())
