"""The key that verified is judged, not what a signature says about its maker; gpg agrees."""

from __future__ import annotations

import base64
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass, field

import pytest

from sifmake.cli.main import main
from sifmake.limits import Limits
from sifmake.signing import TrustStore, Verdict, dsse, sign_file, verify_file
from sifmake.signing.trust import read_denied
from support.corpus import CORPUS, needs_corpus
from support.measured import run_measured
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
from support.signing import KeyPair, pem_pair, pgp_pair, signed, write_sif

SECURITY = CORPUS / "security"
NOW = int(time.time()) - 5
DAY = 86_400


@dataclass
class World:
    """A is a good key with a good and two bad subkeys, B is denied, C has expired, D is unknown."""

    a: CraftedKey = field(default_factory=CraftedKey)
    good: CraftedKey = field(default_factory=CraftedKey)
    retired: CraftedKey = field(default_factory=CraftedKey)
    expired: CraftedKey = field(default_factory=CraftedKey)
    denied: CraftedKey = field(default_factory=CraftedKey)
    b: CraftedKey = field(default_factory=CraftedKey)
    c: CraftedKey = field(default_factory=CraftedKey)
    d: CraftedKey = field(default_factory=CraftedKey)
    r: CraftedKey = field(default_factory=CraftedKey)

    def write(self, folder):
        subkeys = [
            Subkey(self.good),
            Subkey(self.retired, retired=NOW - DAY),
            Subkey(self.expired, valid_for=OLD + DAY - LONG_AGO),
            Subkey(self.denied),
        ]
        files = {
            "a.pgp": certificate(self.a, "A <a@x>", subkeys),
            "b.pgp": certificate(self.b, "B <b@x>"),
            "c.pgp": certificate(self.c, "C <c@x>", valid_for=OLD + DAY - LONG_AGO),
            "r.pgp": certificate(self.r, "R <r@x>", revoked=True),
        }
        folder.mkdir()
        for name, data in files.items():
            (folder / name).write_bytes(data)
        (folder / "denied.txt").write_text(f"{self.b.name}\n{self.denied.name}\n")
        return TrustStore.load([folder])


@pytest.fixture
def world(tmp_path):
    made = World()
    made.trust = made.write(tmp_path / "keys")
    return made


def look(path, world, named, *packets):
    """Verify a file whose armor holds some packets; ``packets`` are functions of the text."""
    make = lambda text: clear_signed(text, *(packet(2, one(text)) for one in packets))  # noqa: E731
    return verify_file(crafted_sif(path, named, make), world.trust)


def by(key, hashed=None, unhashed=None, when=NOW, **how):
    """Return a signature by a key, made at a time, with claims."""
    claims = key.whole if hashed is None else hashed
    return lambda text: key.sign_text(text, created(when) + claims, unhashed, **how)


@pytest.mark.parametrize("maker", ["a", "good"])
@pytest.mark.parametrize(
    "claims",
    {
        "as gpg": lambda key, _: (key.whole, key.short),
        "hashed fingerprint alone": lambda key, _: (key.whole, b""),
        "hashed key ID alone": lambda key, _: (key.short, b""),
        "unhashed key ID alone": lambda key, _: (b"", key.short),
        "unhashed fingerprint alone": lambda key, _: (b"", key.whole),
        "nobody": lambda *_: (b"", b""),
        "another, unhashed": lambda key, other: (b"", other.whole + key.short),
        "another, unhashed and whole": lambda key, other: (key.whole, other.whole + other.short),
        "a third in all words": lambda _, other: (b"", other.whole + other.short),
    }.values(),
)
def test_a_good_key_verifies_whatever_the_unsigned_part_says(tmp_path, world, maker, claims):
    key = getattr(world, maker)
    for other in (world.b, world.d, world.c):
        result = look(tmp_path / "a.sif", world, world.a, by(key, *claims(key, other)))
        assert (result.verdict, result.reasons) == (Verdict.VERIFIED, ())
        assert [signer.fingerprint for signer in result.signers] == [world.a.name]


BAD = {
    "denied": ("b", "b", "is on the deny list"),
    "expired": ("c", "c", "expired on 2022-"),
    "revoked": ("r", "r", "is revoked"),
    "retired subkey": ("retired", "a", "is revoked"),
    "expired subkey": ("expired", "a", "expired on 2022-"),
    "denied subkey": ("denied", "a", "is on the deny list"),
}
CLAIMS = {
    "itself": lambda key, _: (key.whole, key.short),
    "itself, by key ID alone": lambda key, _: (b"", key.short),
    "itself, by fingerprint alone": lambda key, _: (key.whole, b""),
    "the good key": lambda key, good: (b"", good.whole + key.short),
    "the good key, first and last": lambda key, good: (b"", good.whole + key.short + good.whole + good.short),
    "the good key in all words": lambda _, good: (b"", good.whole + good.short),
    "nobody": lambda *_: (b"", b""),
}


@pytest.mark.parametrize("maker", BAD)
@pytest.mark.parametrize("claim", CLAIMS)
@pytest.mark.parametrize("named", ["own", "good"])
def test_a_bad_key_is_known_under_every_name(tmp_path, world, maker, claim, named):
    key, owner = (getattr(world, name) for name in BAD[maker][:2])
    entity = owner if named == "own" else world.a
    for pretended in (world.a, world.good):
        result = look(tmp_path / "a.sif", world, entity, by(key, *CLAIMS[claim](key, pretended), when=OLD))
        if maker == "revoked" and claim in ("the good key in all words", "nobody"):
            assert result.exit_code in (11, 12, 13)  # a stolen key verifies nothing at all
        else:
            assert result.verdict is Verdict.REVOKED
            assert BAD[maker][2] in result.reasons[0]
        assert result.signers == ()


def test_a_denied_primary_takes_its_subkeys_along(tmp_path, world):
    world.trust = world.trust.merged(TrustStore(denied=frozenset({world.a.name})))
    result = look(tmp_path / "a.sif", world, world.a, by(world.good, b"", world.good.short))
    assert (result.verdict, result.reasons) == (Verdict.REVOKED, (f"key {world.a.name} is on the deny list",))


def test_a_denied_key_that_is_not_trusted_is_named_by_its_id(tmp_path, world):
    world.trust = world.trust.merged(TrustStore(denied=frozenset({world.d.name})))
    result = look(tmp_path / "a.sif", world, world.d, by(world.d, b"", world.d.short))
    assert (result.verdict, result.reasons) == (Verdict.REVOKED, (f"key {world.d.name} is on the deny list",))


@pytest.mark.parametrize("maker", ["b", "a", "c"])
def test_a_signed_claim_that_is_wrong_makes_the_signature_invalid(tmp_path, world, maker):
    key = getattr(world, maker)
    for unhashed in (key.short, world.good.short):
        result = look(tmp_path / "a.sif", world, world.a, by(key, world.good.whole, unhashed, when=OLD))
        reason = f"the signature names key {world.good.name} and was made by key {key.name}"
        assert (result.verdict, result.reasons) == (Verdict.INVALID, (reason,))


SEVERAL = {
    "good and good": (["a", "good"], Verdict.VERIFIED),
    "good and denied": (["a", "b"], Verdict.REVOKED),
    "denied and good": (["b", "a"], Verdict.REVOKED),
    "good and expired": (["good", "c"], Verdict.REVOKED),
    "good and unknown": (["a", "d"], Verdict.UNTRUSTED),
    "unknown and denied": (["d", "b"], Verdict.REVOKED),
    "good and of another text": (["a", "other"], Verdict.INVALID),
    "denied and of another text": (["b", "other"], Verdict.INVALID),
}


@pytest.mark.parametrize("case", SEVERAL)
def test_every_one_of_several_signatures_must_hold(tmp_path, world, case):
    makers, verdict = SEVERAL[case]
    made = [
        (lambda text: world.a.sign_text(text + b" "))
        if maker == "other"
        else by(getattr(world, maker), b"", world.a.whole + getattr(world, maker).short, when=OLD)
        for maker in makers
    ]
    assert look(tmp_path / "a.sif", world, world.a, *made).verdict is verdict


def test_all_signers_of_one_text_are_reported(tmp_path, world):
    e = CraftedKey()
    (tmp_path / "e.pgp").write_bytes(certificate(e, "E <e@x>"))
    world.trust = world.trust.merged(TrustStore.load([tmp_path / "e.pgp"]))
    for named in (world.a, e):
        result = look(tmp_path / "a.sif", world, named, by(world.good), by(e))
        assert [signer.name for signer in result.signers] == ["A <a@x>", "E <e@x>"]
    result = look(tmp_path / "a.sif", world, world.b, by(world.good), by(e))
    assert "names another key" in result.reasons[0]


ODD = {
    "version 3": (lambda w: by(w.a, version=3), "version 3"),
    "version 5": (lambda w: by(w.a, version=5), "version 5"),
    "version 6": (lambda w: by(w.a, version=6), "version 6"),
    "version 255": (lambda w: by(w.a, version=255), "version 255"),
    "hash 99": (lambda w: by(w.a, hash_number=99), "uses the hash 99, which is not supported"),
    "hash 12": (lambda w: by(w.a, hash_number=12), "uses the hash SHA3-256, which is not supported"),
    "hash 2": (lambda w: by(w.a, hash_number=2), "uses the weak hash SHA1"),
    "hash 0": (lambda w: by(w.a, hash_number=0), "uses the hash 0"),
    "type 2": (lambda w: by(w.a, kind=2), "is of type 2, not of a text"),
    "type 19": (lambda w: by(w.a, kind=0x13), "is of type 19, not of a text"),
    "critical subpacket": (lambda w: by(w.a, w.a.whole + subpacket(0x80 | 101, b"x")), "does not fit its text"),
    "no time": (lambda w: lambda text: w.a.sign_text(text, w.a.whole), "does not fit its text"),
    "of tomorrow": (lambda w: by(w.a, when=NOW + 3 * DAY), "does not fit its text"),
    "cut subpackets": (lambda w: lambda text: w.a.sign_text(text, b"\x09\x02"), "is damaged"),
    "time of nine bytes": (lambda w: lambda text: w.a.sign_text(text, subpacket(2, b"\xff" * 9)), "is damaged"),
    "period of no bytes": (lambda w: by(w.a, w.a.whole + subpacket(3, b"")), "is damaged"),
    "subpacket of no bytes": (lambda w: lambda text: w.a.sign_text(text, b"\0"), "is damaged"),
}


@pytest.mark.parametrize("case", ODD)
def test_odd_signatures_are_invalid_and_say_why(tmp_path, world, case):
    make, reason = ODD[case]
    result = look(tmp_path / "a.sif", world, world.a, make(world))
    assert result.verdict is Verdict.INVALID
    assert reason in result.reasons[0]


def test_binary_signatures_and_expired_ones(tmp_path, world):
    assert look(tmp_path / "a.sif", world, world.a, by(world.a, kind=0)).verdict is Verdict.VERIFIED
    ended = world.a.whole + subpacket(3, (60).to_bytes(4))
    result = look(tmp_path / "a.sif", world, world.a, by(world.a, ended, when=OLD))
    assert (result.verdict, "the signature expired on 2022-" in result.reasons[0]) == (Verdict.REVOKED, True)


@pytest.mark.parametrize("tag", [1, 4, 8, 10, 11, 21, 39, 40, 52, 63])
def test_other_packets_beside_a_signature(tmp_path, world, tag):
    for order in (1, -1):

        def make(text, order=order):
            parts = [packet(2, world.a.sign_text(text)), packet(tag, b"\1\2\3")]
            return clear_signed(text, *parts[::order])

        result = verify_file(crafted_sif(tmp_path / "a.sif", world.a, make), world.trust)
        assert result.verdict is Verdict.INVALID
        assert f"there is an OpenPGP packet of type {tag} beside the signature" in result.reasons[0]


@pytest.mark.skipif(shutil.which("gpg") is None, reason="gpg is not installed (apt-get install gnupg)")
def test_gpg_takes_the_crafted_signatures_for_what_they_are(tmp_path, tmp_path_factory, world):
    """The oracle: what this file calls good or bad claims are real signatures by those keys."""
    home = tmp_path_factory.mktemp("g")
    home.chmod(0o700)
    gpg = ["gpg", "--homedir", home, "--batch", "--no-tty", "--no-autostart", "--status-fd", "1"]
    for name in ("a", "c"):
        subprocess.run([*gpg, "--import", tmp_path / "keys" / f"{name}.pgp"], check=True, capture_output=True)
    cases = {
        "GOODSIG": [by(world.a), by(world.a, world.a.whole, b""), by(world.good), by(world.a, b"", world.a.short)],
        "EXPKEYSIG": [by(world.c, when=OLD), by(world.c, b"", world.a.whole + world.c.short, when=OLD)],
        "BADSIG": [by(world.b, world.a.whole, world.a.short)],
    }
    for status, makers in cases.items():
        for make in makers:
            data = clear_signed(b"text", packet(2, make(b"text")))
            done = subprocess.run([*gpg, "--verify"], input=data, capture_output=True, check=False)
            assert f"[GNUPG:] {status}".encode() in done.stdout, done.stderr


@needs_corpus
@pytest.mark.parametrize(("denied", "status"), [("", 11), ("B", 13)])
def test_the_corpus_file_that_b_signed_as_a(tmp_path, capsys, denied, status):
    keys = tmp_path / "keys"
    keys.mkdir()
    for name in "AB":
        shutil.copy(SECURITY / f"{name}.asc", keys)
    (keys / "denied.txt").write_text("28516792027D42B37621826DB67501553B290B5C\n" if denied else "")
    assert main(["verify", "--key", str(keys), str(SECURITY / "BasA.sif")]) == status
    captured = capsys.readouterr()
    assert "Signing entity" not in captured.out
    assert captured.err.count("\n") == 1


@pytest.fixture
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("APPTAINER_KEYSDIR", str(tmp_path / "none"))


def armored(data):
    """Return a certificate in armor."""
    name = b"PGP PUBLIC KEY BLOCK-----\n"
    return b"-----BEGIN " + name + b"\n" + base64.encodebytes(data) + b"-----END " + name


def damaged_keys():
    """Give certificates with one thing wrong in each."""
    key = CraftedKey()
    whole = certificate(key, "A <a@x>", [Subkey(CraftedKey())])
    uid = whole.index(b"A <a@x>") - 6
    yield "unknown packet", whole[:uid] + bytes([0xC0 | 52]) + whole[uid + 1 :]
    yield "cut", whole[:-20]
    fingerprint = key.fingerprint
    yield "fingerprint of version 7", whole.replace(b"\x21\4" + fingerprint, b"\x21\7" + fingerprint)
    yield "key of version 9", whole[:6] + b"\x09" + whole[7:]
    yield "secret key packet", bytes([0xC5]) + whole[1:]
    yield "no user", whole[:uid]


@pytest.mark.usefixtures("_own_folder")
@pytest.mark.parametrize("form", ["binary", "armored"])
def test_damaged_keys_are_one_line(tmp_path, capsys, form):
    files = dict(damaged_keys())
    if CORPUS.exists():
        files |= {path.name: path.read_bytes() for path in SECURITY.glob("key-*.asc")}
    sif = signed(write_sif(tmp_path / "a.sif"), pgp_pair(tmp_path))
    for name, data in files.items():
        path = tmp_path / "damaged.asc"
        path.write_bytes(data if form == "binary" or name.endswith(".asc") else armored(data))
        folder = tmp_path / "folder"
        folder.mkdir(exist_ok=True)
        shutil.copy(path, folder)
        for words in (["key", "import", path], ["verify", "--key", path, sif], ["verify", "--key", folder, sif]):
            assert main([*map(str, words)]) in (1, 12), name
            error = capsys.readouterr().err
            assert (error.count("\n"), "defect" in error, "Traceback" in error) == (1, False, False), error


def test_thousands_of_signatures_are_a_limit_and_cost_nothing(tmp_path, world):
    begin = time.process_time()
    result = look(tmp_path / "a.sif", world, world.a, *[by(world.a)] * 2000)
    assert result.reasons == ("signature 4: the file has 2000 signatures, at most 64 are checked (limit signatures)",)
    assert result.verdict is Verdict.INVALID
    assert look(tmp_path / "a.sif", world, world.a, *[by(world.a)] * 64).verdict is Verdict.VERIFIED
    assert time.process_time() - begin < 3


@dataclass
class Raw:
    """Raw keys: two good ones, one denied, one unknown."""

    good: KeyPair
    second: KeyPair
    denied: KeyPair
    unknown: KeyPair
    trust: TrustStore


@pytest.fixture
def raw(tmp_path):
    pairs = {}
    for name, kind in {"good": "ed25519", "second": "secp256r1", "denied": "rsa", "unknown": "secp384r1"}.items():
        (tmp_path / name).mkdir()
        pairs[name] = pem_pair(tmp_path / name, kind)
    trust = TrustStore.load([pairs[name].public for name in ("good", "second", "denied")])
    return Raw(**pairs, trust=trust.merged(TrustStore(denied=frozenset({pairs["denied"].signer.fingerprint}))))


def sign_raw(path, *makers):
    """Write a file with an envelope; each maker is a pair of keys: who signs, and whose name stands there."""

    class Forged:
        kind, fingerprint, entity = "dsse", "forged", b""

        def sign(self, message):
            signatures = []
            for pair, given in makers:
                (signature,) = dsse.decode(pair.signer.sign(message)).signatures
                name = given.signer.fingerprint if isinstance(given, KeyPair) else given
                signatures.append(dsse.DsseSignature(name, signature.value))
            return dsse.encode(message, signatures)

    write_sif(path)
    sign_file(path, path, Forged())
    return path


RAW = {
    "good": ([("good", "good")], Verdict.VERIFIED),
    "good without a name": ([("good", "")], Verdict.VERIFIED),
    "denied": ([("denied", "denied")], Verdict.REVOKED),
    "denied without a name": ([("denied", "")], Verdict.REVOKED),
    "denied as good": ([("denied", "good")], Verdict.REVOKED),
    "denied as unknown": ([("denied", "unknown")], Verdict.REVOKED),
    "denied as nonsense": ([("denied", "SHA256:x")], Verdict.REVOKED),
    "good, and denied as good": ([("good", "good"), ("denied", "good")], Verdict.REVOKED),
    "good, and denied as unknown": ([("good", "good"), ("denied", "unknown")], Verdict.REVOKED),
    "denied as unknown, and good": ([("denied", "unknown"), ("good", "")], Verdict.REVOKED),
    "good as second": ([("good", "second")], Verdict.INVALID),
    "unknown as good": ([("unknown", "good")], Verdict.INVALID),
    "unknown as denied": ([("unknown", "denied")], Verdict.REVOKED),
    "good as unknown": ([("good", "unknown")], Verdict.UNTRUSTED),
    "good and unknown": ([("good", "good"), ("unknown", "unknown")], Verdict.VERIFIED),
}


@pytest.mark.parametrize("case", RAW)
def test_raw_keys_are_judged_by_what_verifies(tmp_path, raw, case):
    makers, verdict = RAW[case]
    pairs = [(getattr(raw, maker), getattr(raw, name, name)) for maker, name in makers]
    result = verify_file(sign_raw(tmp_path / "a.sif", *pairs), raw.trust)
    assert result.verdict is verdict
    if "denied" in case:
        assert result.reasons == (f"key {raw.denied.signer.fingerprint} is on the deny list",)


def test_an_envelope_with_thousands_of_signatures(tmp_path, raw):
    path = sign_raw(tmp_path / "a.sif", *[(raw.good, "")] * 9_000)
    begin = time.process_time()
    result = verify_file(path, raw.trust)
    assert result.verdict is Verdict.INVALID
    assert "the file has 9000 signatures, at most 64 are checked" in result.reasons[0]
    assert time.process_time() - begin < 2


BOMBS = {
    "braces": b"{" * (1 << 20),
    "lists": b'{"payload":[' + b"[]," * 300_000 + b"1]}",
    "signatures": b'{"payloadType":"","payload":"","signatures":[' + b"{}," * 300_000 + b"{}]}",
    "too large": b'{"a":"' + b"x" * (9 << 20) + b'"}',
    "dashes": b"-----BEGIN PGP SIGNED MESSAGE-----\n" + b"-" * (1 << 20),
    "packets": clear_signed(b"{}", packet(2, b"\4") * 100_000),
    "integers": clear_signed(b"{}", packet(2, bytes([4, 1, 1, 8]) + bytes(700_000))),
    "subpackets": clear_signed(b"{}", packet(2, bytes([4, 1, 22, 8, 255, 254]) + b"\1\2" * 32767 + bytes(4)) * 10),
}


@pytest.mark.parametrize("case", BOMBS)
def test_large_signature_objects_are_bounded(tmp_path, case):
    """A process of its own, for its peak of memory counts."""
    path = crafted_sif(tmp_path / "a.sif", CraftedKey(), lambda _: BOMBS[case])
    pair = pgp_pair(tmp_path)
    line = [sys.executable, "-m", "sifmake", "verify", "--key", pair.public, path]
    ran = run_measured(line, tmp_path)
    assert (ran.status, ran.err.count("\n")) == (11, 1), ran.err
    assert ran.memory < 256 << 20
    assert ran.seconds < 5


def test_signatures_count_for_the_whole_file(tmp_path):
    pair = pem_pair(tmp_path)
    path = write_sif(tmp_path / "a.sif", groups=dict.fromkeys(range(1, 41), 0))
    signed(signed(path, pair, group=1), pair, group=2)
    assert verify_file(path, pair.trust, group=1).verdict is Verdict.VERIFIED
    result = verify_file(path, pair.trust, limits=Limits(signatures=1))
    assert result.reasons == ("the file has 2 signatures, at most 1 are checked (limit signatures)",)
    result = verify_file(path, pair.trust, limits=Limits(signature_bytes=100))
    assert "at most 100 are read (limit signature-bytes)" in result.reasons[0]
    assert result.verdict is Verdict.INVALID


def test_deny_file_of_subkeys(tmp_path):
    (tmp_path / "denied.txt").write_text("0x28516792027d42b37621826db67501553b290b5c # B\n")
    assert read_denied(tmp_path / "denied.txt") == {"28516792027D42B37621826DB67501553B290B5C"}
