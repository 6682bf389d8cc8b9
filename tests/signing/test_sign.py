"""Signing: what is written, what is refused, and that nothing is left half done."""

import hashlib
import json

import pytest

from sifmake.errors import KeyFileError, SifmakeError, SigningError
from sifmake.sif import DataType, open_sif, problems, read_signature
from sifmake.signing import TrustStore, Verdict, dsse, load_signer, sign_file, verify_file
from support.corpus import SIF_IMAGES, needs_corpus
from support.signing import NO_PASSPHRASE, pem_pair, pgp_pair, signed, write_sif


@needs_corpus
def test_header_and_descriptors_equal_those_that_the_reference_library_wrote(tmp_path):
    from cryptography.hazmat.primitives.asymmetric import ed25519, rsa

    from sifmake.signing.pem import private_bytes

    keys = [ed25519.Ed25519PrivateKey.generate(), rsa.generate_private_key(65537, 4096)]
    for number, key in enumerate(keys):
        (tmp_path / f"{number}.pem").write_bytes(private_bytes(key))
    signer = load_signer([str(tmp_path / "0.pem"), str(tmp_path / "1.pem")], NO_PASSPHRASE)
    for groups in ("one-group", "two-groups"):
        target = tmp_path / f"{groups}.sif"
        sign_file(SIF_IMAGES / f"{groups}.sif", target, signer)
        ours, theirs = target.read_bytes(), (SIF_IMAGES / f"{groups}-signed-dsse.sif").read_bytes()
        assert ours[:32176].hex(" ") == theirs[:32176].hex(" ")
        assert len(ours) == len(theirs)


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "secp256r1", "secp384r1", "secp521r1"])
def test_every_kind_of_key_signs_and_equal_input_gives_equal_files(tmp_path, kind):
    pair = pem_pair(tmp_path, kind)
    one = signed(write_sif(tmp_path / "one.sif"), pair)
    assert verify_file(one, pair.trust).verdict is Verdict.VERIFIED
    sign_file(write_sif(tmp_path / "two.sif"), tmp_path / "three.sif", pair.signer)
    if kind in ("ed25519", "rsa"):
        assert (tmp_path / "three.sif").read_bytes() == one.read_bytes()


def test_openpgp_signature_names_the_primary_key_and_its_hash(tmp_path):
    pair = pgp_pair(tmp_path)
    path = signed(write_sif(tmp_path / "a.sif"), pair)
    (certificate,) = pair.trust.certificates
    with open_sif(path) as sif:
        (signature,) = sif.find(DataType.SIGNATURE)
        number, fingerprint = read_signature(signature)
        text = sif.read(signature)
        assert fingerprint.hex().upper() == certificate.fingerprint
        assert {1: b"SHA256", 2: b"SHA384", 3: b"SHA512"}[number] in text.split(b"\n")[1]
        assert problems(sif) == []
    assert verify_file(path, pair.trust).signers[0].name == "Ann <ann@example.org>"


def test_several_keys_make_one_envelope_that_each_verifies(tmp_path):
    pairs = [pem_pair(tmp_path, kind) for kind in ("ed25519", "rsa", "secp256r1")]
    signer = load_signer([str(pair.secret) for pair in pairs], NO_PASSPHRASE)
    path = write_sif(tmp_path / "a.sif")
    info = sign_file(path, path, signer)
    assert info.signatures == (4,)
    assert info.fingerprint.count("SHA256:") == 3
    for pair in pairs:
        result = verify_file(path, pair.trust)
        assert result.verdict is Verdict.VERIFIED
        assert [signer.name for signer in result.signers] == [pair.public.name]


def test_one_signature_for_each_group_or_for_the_part_that_is_asked_for(tmp_path):
    pair = pem_pair(tmp_path)
    cases = [({}, (1, 2, 3, 4, 5), 2), ({"group": 2}, (3, 4), 1), ({"object_id": 4}, (4,), 1)]
    for options, objects, signatures in cases:
        path = write_sif(tmp_path / "a.sif", groups={1: 1, 2: 1})
        info = sign_file(path, path, pair.signer, **options)
        assert (info.objects, len(info.signatures)) == (objects, signatures)
    assert verify_file(path, pair.trust, object_id=4).verdict is Verdict.VERIFIED
    assert "object 3 is not signed" in verify_file(path, pair.trust, group=2).reasons[0]


def test_known_digests_are_used_and_the_data_is_not_read(tmp_path, monkeypatch):
    pair, path = pem_pair(tmp_path), write_sif(tmp_path / "a.sif")
    with open_sif(path) as sif:
        digests = {item.id: hashlib.sha256(sif.read(item)).hexdigest() for item in sif.objects}
    expected = signed(write_sif(tmp_path / "b.sif"), pair).read_bytes()

    def refuse(*_):
        raise AssertionError("data was read")

    monkeypatch.setattr("sifmake.signing.hashing.ObjectHashes.compute", refuse)
    sign_file(path, tmp_path / "c.sif", pair.signer, digests)
    assert (tmp_path / "c.sif").read_bytes() == expected


def test_wrong_digests_do_not_verify(tmp_path):
    pair, path = pem_pair(tmp_path), write_sif(tmp_path / "a.sif")
    sign_file(path, path, pair.signer, {3: "0" * 64})
    result = verify_file(path, pair.trust)
    assert (result.verdict, result.reasons) == (Verdict.INVALID, ("the data of object 3 was changed",))


def test_two_signatures_need_both_keys(tmp_path):
    one, two = pem_pair(tmp_path, "ed25519"), pem_pair(tmp_path, "secp256r1")
    path = signed(signed(write_sif(tmp_path / "a.sif"), one), two)
    assert verify_file(path, one.trust.merged(two.trust)).verdict is Verdict.VERIFIED
    assert verify_file(path, one.trust).verdict is Verdict.UNTRUSTED


def test_a_second_signature_says_that_there_was_one(tmp_path):
    pair, path = pem_pair(tmp_path), write_sif(tmp_path / "a.sif")
    signed(path, pair)
    assert sign_file(path, path, pair.signer).earlier == (4,)


@pytest.mark.parametrize("first", ["pem", "pgp"])
def test_one_kind_of_key_for_each_file(tmp_path, first):
    pairs = {"pem": pem_pair(tmp_path), "pgp": pgp_pair(tmp_path)}
    path = signed(write_sif(tmp_path / "a.sif"), pairs.pop(first))
    before = path.read_bytes()
    with pytest.raises(SigningError, match=r"is signed with .* cannot be added; use the same kind of key"):
        signed(path, *pairs.values())
    assert path.read_bytes() == before


@needs_corpus
def test_a_legacy_signature_does_not_keep_a_new_one_away(tmp_path):
    pair = pem_pair(tmp_path)
    sign_file(SIF_IMAGES / "one-group-signed-legacy-group.sif", tmp_path / "a.sif", pair.signer)
    assert verify_file(tmp_path / "a.sif", pair.trust).verdict is Verdict.VERIFIED


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"group": 7}, "there is no object group 7"),
        ({"object_id": 9}, "there is no object 9"),
        ({"object_id": 1, "group": 2}, "object 1 is not in a group to sign"),
    ],
)
def test_parts_that_are_not_there(tmp_path, options, words):
    path = write_sif(tmp_path / "a.sif")
    before = path.read_bytes()
    with pytest.raises(SifmakeError, match=words):
        sign_file(path, path, pem_pair(tmp_path).signer, **options)
    assert path.read_bytes() == before


def test_objects_that_no_signature_could_cover_are_refused(tmp_path):
    path = write_sif(tmp_path / "a.sif", groups={0: 0, 1: 1})
    with pytest.raises(SigningError, match="object 1 is not in a group"):
        signed(path, pem_pair(tmp_path))


def test_a_signer_that_fails_leaves_the_file_as_it_was(tmp_path):
    class Broken:
        kind, fingerprint, entity = "dsse", "none", b""

        def sign(self, _message):
            raise SigningError("the card was pulled")

    path = write_sif(tmp_path / "a.sif", groups={1: 1, 2: 1})
    before = path.read_bytes()
    for target in (path, tmp_path / "b.sif"):
        with pytest.raises(SigningError, match="card"):
            sign_file(path, target, Broken())
    assert path.read_bytes() == before
    assert [item.name for item in tmp_path.iterdir()] == ["a.sif"]


def test_signers_that_cannot_be(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(tmp_path / "config"))
    pem, pgp = pem_pair(tmp_path), pgp_pair(tmp_path)
    for spec, words in [
        ([], "no key to sign with"),
        ("missing", "no such key file"),
        ([str(pem.secret), str(pem.secret)], "the same key is given twice"),
        ([str(pem.secret), str(pgp.secret)], "only if all are PEM keys"),
        (str(pem.public), "this is a public key; use the private key to sign"),
        (str(pgp.public), "this is a public key; use the private key to sign"),
    ]:
        with pytest.raises((KeyFileError, SigningError), match=words) as caught:
            load_signer(spec, NO_PASSPHRASE)
        assert "\n" not in str(caught.value)


def test_envelope_is_what_a_peer_reads(tmp_path):
    path = signed(write_sif(tmp_path / "a.sif"), pem_pair(tmp_path))
    with open_sif(path) as sif:
        (item,) = sif.find(DataType.SIGNATURE)
        document = json.loads(sif.read(item))
    assert list(document) == ["payloadType", "payload", "signatures"]
    assert document["payloadType"] == dsse.PAYLOAD_TYPE
    assert TrustStore.load([tmp_path / "ed25519.pub.pem"]).keys[0].key_id == document["signatures"][0]["keyid"]
