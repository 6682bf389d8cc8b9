"""Signed statements about packs: one key, one file, one purpose."""

from __future__ import annotations

import json

import pytest

from sifmake.errors import SifmakeError
from sifmake.remote.pack_statement import sign_pack, signed_sha256
from sifmake.signing import Passphrase, TrustStore
from support.signing import pem_pair

KEY = f"{'a' * 64}-gzip6-128k-v2-bdf5f857bfd0df9e"


def test_a_statement_is_about_one_pack_and_one_file(tmp_path):
    keys = pem_pair(tmp_path)
    trust = TrustStore.load([keys.public])
    envelope = sign_pack(KEY, "d" * 64, str(keys.secret), Passphrase())
    assert signed_sha256(envelope, KEY, trust) == "d" * 64
    with pytest.raises(SifmakeError, match="about something else"):
        signed_sha256(envelope, KEY.replace("a", "b"), trust)
    with pytest.raises(SifmakeError, match="not signed by a trusted key"):
        signed_sha256(envelope, KEY, TrustStore())
    document = json.loads(envelope)
    document["payload"] = document["payload"][:-8] + "AAAAAAA="
    with pytest.raises(SifmakeError):
        signed_sha256(json.dumps(document).encode(), KEY, trust)
