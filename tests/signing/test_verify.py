"""Verdicts on real files, on broken ones, and on each thing that a signer or attacker can do."""

import json
import shutil
import struct
from datetime import UTC, datetime, timedelta

import pytest

from sifmake.errors import SifError
from sifmake.sif import NotSifError, open_sif
from sifmake.signing import TrustStore, Verdict, dsse, load_signer, sign_file, verify_file
from sifmake.signing.coverage import oddities
from sifmake.signing.trust import TrustedKey
from support.corpus import CORPUS, SIF_BROKEN, SIF_FROM_PEERS, SIF_KEYS, needs_corpus
from support.signing import NO_PASSPHRASE, pem_pair, pgp_pair, signed, write_sif

REAL = sorted(CORPUS.glob("sif/**/*.sif")) + sorted(SIF_FROM_PEERS.glob("*.sif"))
NOT_SIF = ("struct-bad-magic", "struct-bad-version", "struct-version-00", "struct-empty-file", "struct-only-launch")
UNSIGNED = ("struct-dfree-wrong", "struct-link-to-missing", "struct-unknown-datatype")
PASSES = ("descriptor-mtime-changed", "trailing-garbage")


def name_says(path):
    """Return the verdict that a file's name asks for when all PEM keys of the corpus are trusted."""
    if any(word in path.name for word in ("-dsse", "ecdsa-signed", "ed25519-signed", "rsa-signed")):
        return Verdict.VERIFIED
    if "pgp" in path.name or path.name == "busybox_amd64.sif":
        return Verdict.UNTRUSTED
    return Verdict.UNSIGNED


def broken_verdict(stem):
    """Return the exit status that EXPECT.json's words ask for; OpenPGP keys of these files are not in the corpus."""
    if stem in NOT_SIF:
        return 1
    if stem in UNSIGNED or stem.endswith("signature-descriptor-unused"):
        return 10
    if stem.endswith(PASSES):
        return 0 if stem.startswith("dsse") else 12
    return 12 if stem == "pgp-signature-bit-flipped" else 11


@needs_corpus
@pytest.mark.parametrize("path", REAL, ids=lambda path: path.name)
def test_real_files_stand_as_their_names_say(path):
    result = verify_file(path, TrustStore.load([SIF_KEYS]))
    assert result.verdict is name_says(path)
    if "legacy" in path.name:
        assert result.reasons == (
            "it has signatures in the legacy format only, which protect neither header nor descriptors",
        )
    if result.verdict is Verdict.VERIFIED:
        with open_sif(path) as sif:
            assert {item.id for item in result.objects} == {item.id for item in sif.objects if item.group_id}


@needs_corpus
@pytest.mark.parametrize("key", ["ecdsa", "ed25519", "rsa"])
def test_each_key_verifies_its_own_and_no_other(key):
    trust = TrustStore.load([SIF_KEYS / f"{key}-public.pem"])
    for kind in ("ecdsa", "ed25519", "rsa"):
        result = verify_file(SIF_FROM_PEERS / f"alpine-odd.apptainer.{kind}-signed.sif", trust)
        assert result.verdict is (Verdict.VERIFIED if kind == key else Verdict.UNTRUSTED)


@needs_corpus
def test_broken_files_stand_as_expected():
    expected = json.loads((SIF_BROKEN / "EXPECT.json").read_text())
    assert len(expected) == 47
    trust = TrustStore.load([SIF_KEYS])
    for name in expected:
        try:
            result = verify_file(SIF_BROKEN / name, trust)
        except NotSifError as error:
            status, lines = error.exit_code, (str(error),)
        else:
            status, lines = result.exit_code, result.reasons
        assert status == broken_verdict(name.removesuffix(".sif")), name
        assert all(line and "\n" not in line for line in lines)


@needs_corpus
def test_whoever_holds_one_of_two_keys_sees_which_part_was_not_checked():
    trust = TrustStore.load([SIF_KEYS / "ed25519-public.pem"])
    result = verify_file(SIF_BROKEN / "dsse-signature-bit-flipped.sif", trust)
    assert result.verdict is Verdict.VERIFIED
    (check,) = result.signatures
    assert [signer.verdict for signer in check.signers] == [Verdict.VERIFIED, Verdict.UNTRUSTED]
    assert not check.complete
    assert any(span.what == "signature 3, which was not checked in full" for span in result.uncovered)


@pytest.mark.parametrize("kind", ["pem", "pgp"])
@pytest.mark.parametrize(
    ("offset", "value", "reason"),
    [
        (0, b"#!/bin/sh\0", "the header was changed"),
        (50, b"\1", "the header was changed"),
        (46, b"3", "the header names another architecture than the primary partition, which is amd64"),
        (80, b"\1", "the header counts 1 free descriptors of 48"),
        (4096 + 201, b"x", "the descriptor of object 1 was changed"),
        (4096 + 585 + 73, b"x", "the descriptor of object 2 was changed"),
        (4096 + 41, b"x", "the descriptor of object 1 was changed"),
        (4096 + 3 * 585 + 201, b"\x09", "the descriptor of signature 4 names no known hash"),
        (4096 + 40 * 585 + 100, b"x", "descriptor slot 40 is not in use but not empty"),
        (32176, b"B", "the data of object 1 was changed"),
        (40959, b"x", "the data of object 3 was changed"),
    ],
)
def test_each_change_is_named(tmp_path, kind, offset, value, reason):
    pair = {"pem": pem_pair, "pgp": pgp_pair}[kind](tmp_path)
    path = signed(write_sif(tmp_path / "a.sif"), pair)
    assert verify_file(path, pair.trust).verdict is Verdict.VERIFIED
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(value)
    result = verify_file(path, pair.trust)
    assert (result.verdict, result.reasons[0]) == (Verdict.INVALID, reason)
    assert result.objects == ()


def edit(path, change):
    """Rewrite a file's descriptors: ``change`` gets the list of their bytearrays."""
    data = bytearray(path.read_bytes())
    slots = [data[4096 + slot * 585 : 4096 + (slot + 1) * 585] for slot in range(48)]
    change(slots)
    data[4096:32176] = b"".join(slots)
    data[80:88] = struct.pack("<q", sum(not slot[4] for slot in slots))
    path.write_bytes(data)


def add_object(group):
    """Return a change that enters an empty object of a group in slot 10."""

    def change(slots):
        slots[10][:33] = struct.pack("<i?IIIqq", 0x4007, True, 11, 0xF0000000 | group, 0, 40960, 0)

    return change


@pytest.mark.parametrize(
    ("group", "reason"),
    [
        (1, "object 11 is not signed by signature 4"),
        (2, "object group 2 is not signed"),
        (0, "object 11 is in no group, so that no signature covers it"),
    ],
)
def test_an_added_object_is_not_passed_over(tmp_path, group, reason):
    pair = pem_pair(tmp_path)
    path = signed(write_sif(tmp_path / "a.sif"), pair)
    edit(path, add_object(group))
    result = verify_file(path, pair.trust)
    assert (result.verdict, result.reasons) == (Verdict.INVALID, (reason,))


def test_a_removed_object_is_missed(tmp_path):
    pair = pem_pair(tmp_path)
    path = signed(write_sif(tmp_path / "a.sif"), pair)
    edit(path, lambda slots: slots.__setitem__(1, bytearray(585)))
    assert verify_file(path, pair.trust).reasons == ("signed object 2 is missing",)


def test_a_signature_for_one_group_does_not_serve_another(tmp_path):
    pair = pem_pair(tmp_path)
    path = signed(write_sif(tmp_path / "a.sif", groups={1: 1, 2: 1}), pair)

    def swap(slots):
        slots[5][13:17], slots[6][13:17] = slots[6][13:17], slots[5][13:17]

    edit(path, swap)
    assert verify_file(path, pair.trust).verdict is Verdict.INVALID


def test_trailing_bytes_and_filled_gaps_are_named(tmp_path):
    pair = pem_pair(tmp_path)
    path = signed(write_sif(tmp_path / "a.sif"), pair)
    assert oddities(verify_file(path, pair.trust).uncovered) == []
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(1000)
        file.write(b"hidden")
        file.seek(size)
        file.write(b"more")
    result = verify_file(path, pair.trust)
    assert result.verdict is Verdict.VERIFIED
    assert oddities(result.uncovered) == [
        "no signature covers bytes 128-4096 (3968): gap",
        f"no signature covers bytes {size}-{size + 4} (4): bytes behind the last object",
    ]


def test_unknown_key_of_each_kind_is_named(tmp_path):
    for make in (pem_pair, pgp_pair):
        pair = make(tmp_path)
        path = signed(write_sif(tmp_path / "a.sif"), pair)
        result = verify_file(path, TrustStore())
        assert result.verdict is Verdict.UNTRUSTED
        assert "is not among the trusted keys" in result.reasons[0]
    key = pem_pair(tmp_path).signer.fingerprint
    path = signed(write_sif(tmp_path / "a.sif"), pem_pair(tmp_path, "rsa"))
    assert key not in verify_file(path, TrustStore()).reasons[0]


def test_an_altered_file_by_an_unknown_key_is_altered_first_of_all(tmp_path):
    path = signed(write_sif(tmp_path / "a.sif"), pem_pair(tmp_path))
    with path.open("r+b") as file:
        file.seek(40000)
        file.write(b"x")
    assert verify_file(path, TrustStore()).verdict is Verdict.INVALID


def rewrite_signature(path, change):
    """Sign a file again with ``change`` applied to the data of the signature."""

    class Changed:
        def __init__(self, signer):
            self.signer = signer
            self.kind, self.fingerprint, self.entity = signer.kind, signer.fingerprint, signer.entity

        def sign(self, message):
            return change(self.signer.sign(message))

    return Changed(path)


def test_signature_without_a_key_name_is_tried_with_every_key(tmp_path):
    pair, other = pem_pair(tmp_path), pem_pair(tmp_path, "rsa")
    path = write_sif(tmp_path / "a.sif")
    name = pair.signer.fingerprint.encode()
    sign_file(path, path, rewrite_signature(pair.signer, lambda data: data.replace(name, b"")))
    assert verify_file(path, other.trust.merged(pair.trust)).verdict is Verdict.VERIFIED
    assert verify_file(path, other.trust).reasons == ("a key without a name is not among the trusted keys",)


def test_a_signature_under_the_name_of_a_trusted_key_must_be_by_it(tmp_path):
    pair, other = pem_pair(tmp_path), pem_pair(tmp_path, "secp256r1")
    path = write_sif(tmp_path / "a.sif")
    old, new = (key.signer.fingerprint.encode() for key in (other, pair))
    sign_file(path, path, rewrite_signature(other.signer, lambda data: data.replace(old, new)))
    result = verify_file(path, pair.trust.merged(other.trust))
    assert result.verdict is Verdict.INVALID
    assert "does not fit its text" in result.reasons[0]


@pytest.mark.parametrize("data", [b"{}", b"hello", b"-----BEGIN PGP SIGNED MESSAGE-----\n\n{}\n", b"{" * 50_000, b"\0"])
def test_signature_objects_that_are_none(tmp_path, data):
    pair, path = pem_pair(tmp_path), write_sif(tmp_path / "a.sif")
    sign_file(path, path, rewrite_signature(pair.signer, lambda _: data))
    result = verify_file(path, pair.trust)
    assert result.verdict is Verdict.INVALID
    assert result.reasons[0].startswith("signature 4: ")


def test_deny_list_beats_trust(tmp_path):
    for make in (pem_pair, pgp_pair):
        pair = make(tmp_path)
        path = signed(write_sif(tmp_path / "a.sif"), pair)
        trust = pair.trust
        name = trust.keys[0].key_id if trust.keys else trust.certificates[0].fingerprint
        result = verify_file(path, trust.merged(TrustStore(denied=frozenset({name}))))
        assert (result.verdict, result.reasons) == (Verdict.REVOKED, (f"key {name} is on the deny list",))


def test_denied_key_is_known_without_its_name_too(tmp_path):
    pair = pem_pair(tmp_path)
    path = write_sif(tmp_path / "a.sif")
    name = pair.signer.fingerprint
    sign_file(path, path, rewrite_signature(pair.signer, lambda data: data.replace(name.encode(), b"")))
    trust = pair.trust.merged(TrustStore(denied=frozenset({name})))
    assert verify_file(path, trust).verdict is Verdict.REVOKED


def test_revoked_openpgp_key(tmp_path):
    import pysequoia

    pair = pgp_pair(tmp_path)
    path = signed(write_sif(tmp_path / "a.sif"), pair)
    key = pysequoia.Tsk.from_file(str(pair.secret))
    cert = key.extract_certificate()
    revocation = cert.revoke(key.certifier())
    revoked = pysequoia.Cert.from_bytes(bytes(cert) + bytes(revocation))
    (tmp_path / "revoked.asc").write_text(str(revoked))
    result = verify_file(path, TrustStore.load([tmp_path / "revoked.asc"]))
    assert result.verdict is Verdict.REVOKED
    assert result.reasons == (f"key {cert.fingerprint.upper()} is revoked",)
    both = TrustStore.load([pair.public, tmp_path / "revoked.asc"])
    assert verify_file(path, both).verdict is Verdict.REVOKED
    assert verify_file(path, pair.trust).verdict is Verdict.VERIFIED


def test_expired_openpgp_key(tmp_path):
    import pysequoia

    pair = pgp_pair(tmp_path)
    path = signed(write_sif(tmp_path / "a.sif"), pair)
    key = pysequoia.Tsk.from_file(str(pair.secret))
    ended = key.extract_certificate().set_expiration(datetime.now(UTC) + timedelta(seconds=1), key.certifier())
    (tmp_path / "ended.asc").write_text(str(ended))
    (certificate,) = TrustStore.load([tmp_path / "ended.asc"]).certificates
    while datetime.now(UTC) <= certificate.expires:
        pass
    result = verify_file(path, TrustStore.load([tmp_path / "ended.asc"]))
    assert result.verdict is Verdict.REVOKED
    assert f"expired on {datetime.now(UTC):%Y-%m-%d}" in result.reasons[0]


def test_descriptor_must_name_the_openpgp_key(tmp_path):
    pair = pgp_pair(tmp_path)
    path = signed(write_sif(tmp_path / "a.sif"), pair)
    edit(path, lambda slots: slots[3].__setitem__(slice(205, 225), bytes(20)))
    result = verify_file(path, pair.trust)
    assert result.verdict is Verdict.INVALID
    assert result.reasons == ("the descriptor of signature 4 names another key than the one that made it",)


def test_keys_of_the_other_kind_do_not_help(tmp_path):
    pem, pgp = pem_pair(tmp_path), pgp_pair(tmp_path)
    path = signed(write_sif(tmp_path / "a.sif"), pgp)
    assert verify_file(path, pem.trust).verdict is Verdict.UNTRUSTED
    assert verify_file(path, pem.trust.merged(pgp.trust)).verdict is Verdict.VERIFIED


def test_group_and_object_selectors(tmp_path):
    pair = pem_pair(tmp_path)
    path = signed(write_sif(tmp_path / "a.sif", groups={1: 1, 2: 1}), pair, group=2)
    assert verify_file(path, pair.trust).reasons == ("object group 1 is not signed",)
    assert verify_file(path, pair.trust, group=2).verdict is Verdict.VERIFIED
    assert verify_file(path, pair.trust, object_id=4).verdict is Verdict.VERIFIED
    assert verify_file(path, pair.trust, object_id=1).verdict is Verdict.UNSIGNED
    for options in ({"group": 5}, {"object_id": 77}, {"object_id": 1, "group": 2}):
        with pytest.raises(SifError, match=r"no group has an object|there is no object group"):
            verify_file(path, pair.trust, **options)


def test_a_development_key_is_told_apart(tmp_path, monkeypatch):
    from sifmake.signing import default_trust

    monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("APPTAINER_KEYSDIR", str(tmp_path / "none"))
    path = write_sif(tmp_path / "a.sif")
    sign_file(path, path, load_signer("development", NO_PASSPHRASE))
    (signer,) = verify_file(path, default_trust()).signers
    assert signer.development
    assert signer.name == "development"


def test_no_socket_is_opened(tmp_path, monkeypatch):
    import socket

    def refuse(*_, **__):
        raise AssertionError("network")

    monkeypatch.setattr(socket, "socket", refuse)
    pair = pgp_pair(tmp_path)
    path = signed(write_sif(tmp_path / "a.sif"), pair)
    assert verify_file(path, pair.trust).verdict is Verdict.VERIFIED
    assert verify_file(path, TrustStore()).verdict is Verdict.UNTRUSTED


def test_unsigned_file_tells_all_its_bytes_as_uncovered(tmp_path):
    path = write_sif(tmp_path / "a.sif")
    result = verify_file(path, TrustStore())
    assert (result.verdict, result.exit_code) == (Verdict.UNSIGNED, 10)
    assert {"unsigned object 1", "unsigned object 2", "unsigned object 3"} <= {span.what for span in result.uncovered}


def test_trusted_key_values_are_compared_not_their_names(tmp_path):
    pair, other = pem_pair(tmp_path), pem_pair(tmp_path, "rsa")
    path = signed(write_sif(tmp_path / "a.sif"), pair)
    wrong = TrustedKey(pair.signer.fingerprint, "forged", other.trust.keys[0].key)
    assert verify_file(path, TrustStore(keys=(wrong,))).verdict is Verdict.INVALID


def test_a_file_that_is_copied_still_verifies(tmp_path):
    pair = pem_pair(tmp_path)
    path = signed(write_sif(tmp_path / "a.sif", uuid=bytes(range(16)), time=1_000_000_000), pair)
    shutil.copy(path, tmp_path / "b.sif")
    assert verify_file(tmp_path / "b.sif", pair.trust).verdict is Verdict.VERIFIED
    with open_sif(path) as sif:
        assert dsse.looks_like_envelope(sif.read(sif.get(4)))
