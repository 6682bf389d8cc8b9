"""``sifmake sign``, ``verify``, ``key`` and ``sif`` as a user runs them."""

import contextlib
import io
import json
import os
import pty
import resource
import stat
import subprocess
import sys
import time

import pytest

from sifmake.cli.main import main
from sifmake.sif import open_sif
from support.corpus import SIF_BROKEN, SIF_FROM_PEERS, SIF_IMAGES, SIF_KEYS, needs_corpus
from support.measured import WITHIN_LIMITS
from support.signing import pem_pair, pgp_pair, write_sif


@pytest.fixture(autouse=True)
def config(tmp_path, monkeypatch):
    monkeypatch.setenv("SIFMAKE_CONFIG_DIR", str(tmp_path / "config"))
    monkeypatch.setenv("APPTAINER_KEYSDIR", str(tmp_path / "none"))
    monkeypatch.delenv("SIFMAKE_PASSPHRASE", raising=False)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    return tmp_path / "config"


def test_a_pair_is_made_and_used_by_name(tmp_path, capsys):
    sif = str(write_sif(tmp_path / "a.sif"))
    assert main(["verify", sif]) == 10
    assert "it is not signed; run `sifmake sign` to add a signature" in capsys.readouterr().err
    assert main(["key", "newpair", "work"]) == 0
    assert main(["sign", "--key", "work", sif]) == 0
    assert "objects 1, 2, 3 signed by SHA256:" in capsys.readouterr().err
    assert main(["verify", sif]) == 0
    out = capsys.readouterr().out
    assert "[LOCAL]   Signing entity: work.pem" in out
    assert "3    |1       |NONE    |FS (Squashfs/*System/amd64)" in out
    assert "header: architecture" in out
    assert main(["key", "remove", "work"]) == 0
    assert main(["verify", sif]) == 12


def test_a_second_signature_is_warned_about(tmp_path, capsys):
    sif, pair = str(write_sif(tmp_path / "a.sif")), pem_pair(tmp_path)
    assert main(["-q", "sign", "--key", str(pair.secret), sif]) == 0
    assert capsys.readouterr().err == ""
    assert main(["-q", "sign", "--key", str(pair.secret), sif]) == 0
    assert "verifiers now need the keys of all its signatures" in capsys.readouterr().err


def test_a_key_that_is_not_encrypted_says_so_if_nobody_was_asked(tmp_path, capsys, monkeypatch):
    (tmp_path / "pass").write_text("sesame\n")
    assert main(["key", "newpair", "bare"]) == 0
    (said,) = (line for line in capsys.readouterr().err.splitlines() if "warning" in line)
    assert "the private key is not encrypted, because there is no terminal" in said
    assert "--passphrase-file FILE" in said
    assert main(["key", "newpair", "given", "--passphrase-file", str(tmp_path / "pass")]) == 0
    monkeypatch.setenv("SIFMAKE_PASSPHRASE", "sesame")
    assert main(["key", "newpair", "set"]) == 0
    assert "warning" not in capsys.readouterr().err


def test_passphrase_from_file_and_variable_but_not_from_nowhere(tmp_path, capsys, monkeypatch):
    (tmp_path / "pass").write_text("sesame\n")
    assert main(["key", "newpair", "work", "--passphrase-file", str(tmp_path / "pass")]) == 0
    sif = write_sif(tmp_path / "a.sif")
    before = sif.read_bytes()
    assert main(["sign", "--key", "work", str(sif)]) == 1
    assert "there is no terminal to ask on; name a file with --passphrase-file" in capsys.readouterr().err
    monkeypatch.setenv("SIFMAKE_PASSPHRASE", "wrong")
    assert main(["sign", "--key", "work", str(sif)]) == 1
    assert "the passphrase does not open this key" in capsys.readouterr().err
    assert sif.read_bytes() == before
    monkeypatch.setenv("SIFMAKE_PASSPHRASE", "sesame")
    assert main(["sign", "--key", "work", str(sif)]) == 0
    assert main(["sign", "--key", "work", "--passphrase-file", str(tmp_path / "pass"), str(sif)]) == 0


def test_verify_with_key_files_only_trusts_those(tmp_path, capsys):
    pair, other = pem_pair(tmp_path), pgp_pair(tmp_path)
    sif = str(write_sif(tmp_path / "a.sif"))
    assert main(["sign", "--key", str(pair.secret), sif]) == 0
    assert main(["key", "import", str(pair.public)]) == 0
    assert main(["verify", sif]) == 0
    assert main(["verify", "--key", str(other.public), sif]) == 12
    assert main(["verify", "--key", str(other.public), "--key", str(pair.public), sif]) == 0
    (tmp_path / "deny").write_text(pair.signer.fingerprint + "\n")
    capsys.readouterr()
    assert main(["verify", "--deny", str(tmp_path / "deny"), sif]) == 13
    assert "is on the deny list" in capsys.readouterr().err


@needs_corpus
def test_json_has_the_peers_members(capsys):
    key = str(SIF_KEYS / "rsa-public.pem")
    assert main(["verify", "--json", "--key", key, str(SIF_FROM_PEERS / "alpine-odd.apptainer.rsa-signed.sif")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["Signatures"] == 1
    assert [entry["Signer"]["Partition"] for entry in document["SignerKeys"]] == [
        "Def.FILE",
        "JSON.Generic",
        "JSON.Generic",
        "FS",
    ]
    assert document["SignerKeys"][0]["Signer"] == {
        "Partition": "Def.FILE",
        "Name": "rsa-public.pem",
        "Fingerprint": "SHA256:BhCwr7qZulYcOMSl2Jt2DuYHxHNnN6th4NdMqR/PGa4",
        "KeyLocal": True,
        "KeyCheck": True,
        "DataCheck": True,
    }
    assert (document["Verdict"], document["ExitCode"], document["Reasons"]) == ("verified", 0, [])


@needs_corpus
@pytest.mark.parametrize(
    ("name", "status", "data"),
    [("dsse-object2-bit-flipped.sif", 11, [True, False]), ("struct-half-descriptor.sif", 11, [])],
)
def test_json_comes_before_the_error_too(capsys, name, status, data):
    assert main(["verify", "--json", "--key", str(SIF_KEYS / "ed25519-public.pem"), str(SIF_BROKEN / name)]) == status
    captured = capsys.readouterr()
    document = json.loads(captured.out)
    assert [entry["Signer"]["DataCheck"] for entry in document["SignerKeys"] or []] == data
    assert document["ExitCode"] == status
    assert captured.err.count("\n") == 1


def test_json_for_a_file_that_is_not_there(tmp_path, capsys):
    """``apptainer verify --json`` prints its two members then, too."""
    assert main(["verify", "--json", "--key", str(pem_pair(tmp_path).public), str(tmp_path / "no.sif")]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document == {
        "Signatures": 0,
        "SignerKeys": None,
        "Verdict": "error",
        "ExitCode": 1,
        "Reasons": ["No such file or directory"],
        "Uncovered": [],
    }


def verified(capsys, *words):
    """Run ``verify --json``; return status, number of signatures, and name, partition and check of each entry."""
    status = main(["verify", "--json", *map(str, words)])
    document = json.loads(capsys.readouterr().out)
    entries = [entry["Signer"] for entry in document["SignerKeys"] or []]
    for entry in entries:
        assert list(entry) == ["Partition", "Name", "Fingerprint", "KeyLocal", "KeyCheck", "DataCheck"]
        assert entry["KeyLocal"] is entry["KeyCheck"] is True
    assert document["SignerKeys"] is None or entries
    return status, document["Signatures"], [(entry["Partition"], entry["DataCheck"]) for entry in entries]


# What `apptainer verify --json` (917d665) prints of files of the same make.
ALL = [("Def.FILE", True), ("JSON.Generic", True), ("FS", True)]


@pytest.mark.parametrize(
    ("selection", "expected"),
    [
        ([], (0, 1, ALL)),
        (["--all"], (0, 1, ALL)),
        (["-g", "1"], (0, 1, ALL)),
        (["-g", "2"], (1, 0, [])),
        (["-i", "2"], (0, 1, ALL[1:2])),
        (["-i", "4"], (1, 0, [])),
    ],
)
def test_json_for_parts_of_a_file(tmp_path, capsys, selection, expected):
    pair = pgp_pair(tmp_path)
    sif = write_sif(tmp_path / "a.sif")
    assert main(["-q", "sign", "--key", str(pair.secret), str(sif)]) == 0
    assert verified(capsys, "--key", pair.public, *selection, sif) == expected


def change_byte(sif, number):
    with open_sif(sif) as opened:
        offset = opened.get(number).offset
    data = bytearray(sif.read_bytes())
    data[offset] ^= 1
    sif.write_bytes(data)


def test_json_ends_at_the_first_object_that_differs(tmp_path, capsys):
    pair = pgp_pair(tmp_path)
    sif = write_sif(tmp_path / "a.sif")
    assert main(["-q", "sign", "--key", str(pair.secret), str(sif)]) == 0
    change_byte(sif, 2)
    key = ("--key", pair.public)
    assert verified(capsys, *key, sif) == (11, 1, [("Def.FILE", True), ("JSON.Generic", False)])
    assert verified(capsys, *key, "-i", "2", sif) == (11, 1, [("JSON.Generic", False)])
    assert verified(capsys, *key, "-i", "3", sif) == (0, 1, [("FS", True)]), "nothing else was asked for"


def test_json_of_unsigned_untrusted_and_partly_signed_files(tmp_path, capsys):
    pair, other = pgp_pair(tmp_path), pem_pair(tmp_path)
    sif = write_sif(tmp_path / "a.sif")
    key = ("--key", pair.public)
    assert verified(capsys, *key, sif) == (10, 0, [])
    assert main(["-q", "sign", "-i", "2", "--key", str(pair.secret), str(sif)]) == 0
    assert verified(capsys, *key, sif) == (11, 1, []), "an object is not signed"
    assert verified(capsys, *key, "-i", "2", sif) == (0, 1, [("JSON.Generic", True)])
    assert verified(capsys, *key, "-i", "1", sif) == (11, 1, [])
    assert verified(capsys, "--key", other.public, sif) == (11, 1, [])


def test_json_goes_by_group_up_to_one_without_a_signature(tmp_path, capsys):
    pair = pgp_pair(tmp_path)
    for signed, expected in ((1, (11, 1, [("Def.FILE", True), ("FS", True)])), (2, (11, 0, []))):
        sif = write_sif(tmp_path / f"{signed}.sif", groups={2: 1, 1: 0})
        assert main(["-q", "sign", "-g", str(signed), "--key", str(pair.secret), str(sif)]) == 0
        assert verified(capsys, "--key", pair.public, sif) == expected


def test_json_has_fingerprints_as_the_peers_write_them(tmp_path, capsys):
    pair = pgp_pair(tmp_path)
    sif = str(write_sif(tmp_path / "a.sif"))
    assert main(["-q", "sign", "--key", str(pair.secret), sif]) == 0
    assert main(["verify", "--json", "--key", str(pair.public), sif]) == 0
    document = json.loads(capsys.readouterr().out)
    assert {entry["Signer"]["Fingerprint"] for entry in document["SignerKeys"]} == {pair.signer.fingerprint.lower()}


def test_json_names_one_signer_of_an_envelope_with_several(tmp_path, capsys):
    pair = pem_pair(tmp_path)
    (tmp_path / "second").mkdir()
    second = pem_pair(tmp_path / "second")
    sif = write_sif(tmp_path / "a.sif")
    assert main(["-q", "sign", "--key", str(pair.secret), "--key", str(second.secret), str(sif)]) == 0
    assert verified(capsys, "--key", second.public, sif) == (0, 1, ALL)
    assert verified(capsys, "--key", second.public, "--key", pair.public, sif) == (0, 1, ALL)


@needs_corpus
@pytest.mark.parametrize(
    ("name", "selection", "expected"),
    [
        # The key of the OpenPGP signatures is not in the corpus.
        ("two-groups-signed-pgp", [], (12, 1, [])),
        ("two-groups-signed-dsse", [], (0, 2, [("FS", True)] * 3)),
        ("two-groups-signed-dsse", ["-g", "2"], (0, 1, [("FS", True)])),
        ("two-groups-signed-dsse", ["-i", "1"], (0, 1, [("FS", True)])),
        ("one-group-signed-legacy", [], (10, 0, [])),
        ("two-groups", [], (10, 0, [])),
        ("empty", ["-g", "1"], (1, 0, [])),
    ],
)
def test_json_of_the_reference_librarys_files(capsys, name, selection, expected):
    sif = SIF_IMAGES / f"{name}.sif"
    assert verified(capsys, "--key", SIF_KEYS / "ed25519-public.pem", *selection, sif) == expected


@needs_corpus
def test_no_broken_file_brings_a_traceback():
    script = (
        "import sys\nfrom pathlib import Path\nfrom sifmake.cli.main import main\n"
        "for path in sorted(Path(sys.argv[1]).glob('*.sif')):\n"
        "    for words in (['verify'], ['sif', 'list'], ['sif', 'header'], ['sif', 'dump', '1']):\n"
        "        print(path.name, words[0], main([*words, str(path)]), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, SIF_BROKEN], capture_output=True, check=True)
    assert b"Traceback" not in done.stderr
    assert b"bug in sifmake" not in done.stderr
    assert done.stderr.count(b"struct-") >= 23 * 4


def test_key_list_export_and_secret_keys(tmp_path, capsys):
    pair = pgp_pair(tmp_path)
    main(["-q", "key", "newpair", "work"])
    main(["-q", "key", "import", str(pair.public)])
    main(["key", "list", "--json"])
    listed = json.loads(capsys.readouterr().out)
    assert {(item["name"], item["kind"]) for item in listed} == {
        ("Ann <ann@example.org>", "OpenPGP"),
        ("work", "Ed25519"),
    }
    main(["key", "list", "--secret"])
    assert "work  no passphrase" in capsys.readouterr().out
    for item in listed:
        assert main(["key", "export", "--force", item["fingerprint"], str(tmp_path / "out")]) == 0
        assert b"PUBLIC KEY" in (tmp_path / "out").read_bytes()
    secret = tmp_path / "secret"
    assert main(["key", "export", "--secret", "work", str(secret)]) == 0
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert main(["key", "remove", "--secret", "work"]) == 0
    assert main(["sign", "--key", "work", str(write_sif(tmp_path / "a.sif"))]) == 1
    (tmp_path / "back.pem").write_bytes(secret.read_bytes())
    assert main(["key", "import", str(tmp_path / "back.pem")]) == 0
    assert main(["sign", "--key", "back", str(write_sif(tmp_path / "a.sif"))]) == 0


@pytest.mark.parametrize(("uuid", "warned"), [(bytes(16), True), (bytes(range(16)), False)])
def test_several_signed_groups_without_a_uuid_are_warned_about(tmp_path, capsys, uuid, warned):
    """Group 2 with its signature could come from any other file by that key."""
    pair = pem_pair(tmp_path)
    options = {} if warned else {"uuid": uuid, "time": 1_000_000_000}
    sif = str(write_sif(tmp_path / "a.sif", groups={1: 1, 2: 1}, **options))
    assert main(["-q", "sign", "--key", str(pair.secret), sif]) == 0
    key = ["--key", str(pair.public), sif]
    assert main(["verify", *key]) == 0
    warning = "object groups 1, 2 are signed one by one, and no UUID says that they belong to one file"
    assert (f"warning: {warning}" in capsys.readouterr().err) == warned
    assert main(["verify", "--json", *key]) == 0
    assert json.loads(capsys.readouterr().out).get("Warnings") == ([warning] if warned else None)
    assert main(["verify", "-g", "1", *key]) == 0
    assert warning not in capsys.readouterr().err


def test_dump_gives_the_bytes_of_an_object(tmp_path, capfdbinary):
    sif = str(write_sif(tmp_path / "a.sif"))
    assert main(["sif", "dump", "1", sif]) == 0
    assert capfdbinary.readouterr().out == b"bootstrap: docker"
    assert main(["sif", "dump", "9", sif]) == 1
    assert b"there is no object 9" in capfdbinary.readouterr().err


def test_selectors_exclude_each_other_and_a_key_is_needed(tmp_path, capsys):
    sif = str(write_sif(tmp_path / "a.sif"))
    for words in (["sign", sif], ["sign", "--key", "x", "--gpg", "y", sif], ["verify", "-g", "1", "-i", "1", sif]):
        with pytest.raises(SystemExit) as caught:
            main(words)
        assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_bytes_that_are_no_text_are_no_traceback(tmp_path, capsys):
    sif = str(write_sif(tmp_path / "a.sif"))
    (tmp_path / "deny").write_bytes(b"# caf\xe9\n\xff\xfe\n")
    assert main(["verify", "--deny", str(tmp_path / "deny"), sif]) == 1
    assert r"deny, line 2: '\\xff\\xfe' is not a fingerprint" in capsys.readouterr().err
    for words in (b"caf\xe9\r\nsecond line\n", b"caf\xc3\xa9"):
        (tmp_path / "pass").write_bytes(words)
        key = f"k{len(words)}"
        assert main(["-q", "key", "newpair", key, "--passphrase-file", str(tmp_path / "pass")]) == 0
        assert main(["-q", "sign", "--key", key, "--passphrase-file", str(tmp_path / "pass"), sif]) == 0
        # What openssl takes are the bytes of the first line.
        secret = tmp_path / "config" / "keys" / "secret" / f"{key}.pem"
        (tmp_path / "first").write_bytes(words.splitlines()[0] + b"\n")
        subprocess.run(["openssl", "pkey", "-in", secret, "-passin", f"file:{tmp_path}/first", "-noout"], check=True)


def test_a_passphrase_is_not_a_reason_to_read_for_ever(tmp_path, capsys):
    pair = [str(tmp_path / "config" / "keys" / "secret" / "work.pem"), str(write_sif(tmp_path / "a.sif"))]
    (tmp_path / "pass").write_text("sesame")
    assert main(["-q", "key", "newpair", "work", "--passphrase-file", str(tmp_path / "pass")]) == 0
    assert main(["sign", "--key", pair[0], "--passphrase-file", "/dev/zero", pair[1]]) == 1
    assert "the passphrase does not open this key; it came from the first line of /dev/zero" in capsys.readouterr().err


def test_keys_may_come_through_pipes(tmp_path):
    pair, pgp = pem_pair(tmp_path), pgp_pair(tmp_path)
    for keys in (pair, pgp):
        sif = str(write_sif(tmp_path / "a.sif"))
        with_pipe(keys.secret, lambda pipe, sif=sif: main(["-q", "sign", "--key", pipe, sif]))
        with_pipe(keys.public, lambda pipe, sif=sif: main(["-q", "verify", "--key", pipe, sif]))
        with_pipe(keys.public, lambda pipe: main(["-q", "key", "import", pipe]))
        assert main(["-q", "verify", sif]) == 0


def test_e17_no_room_for_the_signature(tmp_path):
    sif, pair = write_sif(tmp_path / "a.sif"), pem_pair(tmp_path)
    before = sif.read_bytes()
    done = subprocess.run(
        [sys.executable, "-m", "sifmake", "sign", "--key", pair.secret, sif],
        env={**os.environ, **WITHIN_LIMITS},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (len(before), len(before))),
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr.count("\n")) == (1, 1)
    assert f"{sif}: File too large; raise the limit on file sizes (ulimit -f" in done.stderr
    assert sif.read_bytes() == before


def with_pipe(content, run):
    """Call a command with the name of a pipe, as a shell's ``<(...)`` gives it, and expect success."""
    read, write = os.pipe()
    os.write(write, content.read_bytes())
    os.close(write)
    try:
        assert run(f"/dev/fd/{read}") == 0
    finally:
        os.close(read)


def test_what_is_not_a_file_and_names_that_are_taken(tmp_path, capsys):
    sif = str(write_sif(tmp_path / "a.sif"))
    (tmp_path / "empty.pem").touch()
    for words, text in [
        (["sign", "--key", str(pem_pair(tmp_path).secret), str(tmp_path)], "Is a directory; name a file"),
        (["sign", "--key", str(tmp_path), sif], "not a key file; name a file with a PEM or OpenPGP key"),
        (["verify", "--key", str(tmp_path / "empty.pem"), sif], "the file is empty; name a file with a PEM or"),
        (["verify", "--key", str(tmp_path / "no.pem"), sif], "no such key file; check the path"),
        (["key", "newpair", "development"], "'development' is the name of the key that builds make automatically"),
    ]:
        assert main(words) == 1
        error = capsys.readouterr().err
        assert text in error
        assert error.count("\n") == 1


@pytest.mark.parametrize("words", [["sign", "--key", "work", "a.sif"], ["key", "newpair", "other"]])
def test_the_end_of_the_terminals_input_gives_no_traceback(tmp_path, monkeypatch, words):
    write_sif(tmp_path / "a.sif")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIFMAKE_PASSPHRASE", "sesame")
    assert main(["-q", "key", "newpair", "work"]) == 0
    monkeypatch.delenv("SIFMAKE_PASSPHRASE")
    status, output = on_a_terminal(words, "Passphrase" if words[0] == "sign" else "New passphrase", b"\x04")
    assert status == 1
    assert output.endswith(b"sifmake: error: no passphrase was entered\r\n")


def on_a_terminal(words, question, answer):
    """Run ``sifmake WORDS`` on a terminal and answer its question; return status and what was on the screen."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(sys.executable, [sys.executable, "-m", "sifmake", *words])  # noqa: S606
    output = b""
    with os.fdopen(terminal, "r+b", 0) as screen, contextlib.suppress(OSError):
        while question.encode() not in output:
            output += screen.read(1000)
        time.sleep(0.1)  # getpass drops what was typed before it asks
        screen.write(answer)
        while part := screen.read(1000):
            output += part
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output
