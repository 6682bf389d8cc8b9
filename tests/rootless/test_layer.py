"""What a script changed, as others read it, and with the times that a layer may have."""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
from pathlib import Path

from support.rootless import BASE, NEEDS_ROOTLESS
from support.umoci import needs_umoci

pytestmark = NEEDS_ROOTLESS
EPOCH = 1_700_000_000
CHANGES = """
mkdir -p /o/d; cd /o; echo x > f; ln f g; chown 5:6 f; ln -s f l; chown -h 9:9 l; mkfifo p; chmod 4751 g
rm /bin/yes; rm -r /etc/network; mkdir /etc/network; touch /etc/network/new; mv /var/spool /var/pool; chmod 1770 /root
long=$(printf %0200d 1); touch "$long" "caf\u00e9"; chown 3000000:4000000 p || chown 30000:40000 p; chmod 000 /o/d
"""
TIMES = """
mkdir -p /o/__pycache__; cd /o; touch -d @1800000000 a.py; touch -d @1000 b.py
for name in new old hash; do cp /in/$name.pyc __pycache__/; done; touch -d @1234567890 /o/old
"""


def listing(root):
    """Return all that a tree has: path to type, mode, owner, hard links, size or target."""
    found = {}
    for path in sorted(Path(root).rglob("*")):
        status = path.lstat()
        extra = os.readlink(path) if path.is_symlink() else status.st_size if path.is_file() else None
        names = 1 if path.is_dir() and not path.is_symlink() else status.st_nlink
        found[str(path.relative_to(root))] = (status.st_mode, status.st_uid, status.st_gid, names, extra)
    return found


@needs_umoci
def test_base_and_layer_are_the_tree_for_umoci(builder, tmp_path):
    done = builder.run(f"{CHANGES}\nexit 7", keep=True)
    assert done.status == 7
    kept = Path(done.kept)
    try:
        if builder.mode != "root":  # others have other numbers outside, or none
            assert set(listing(kept)) - {"dev", "proc", "sys"} >= {"o/f", "var/pool", "etc/network/new"}
        tar = builder.folder / "layer.tar"
        builder.run(f"{CHANGES}\nexit 7", tar=str(tar))
        name = f"{tmp_path / 'layout'}:base"
        subprocess.run(["skopeo", "--insecure-policy", "copy", "-q", f"oci:{BASE}", f"oci:{name}"], check=True)
        subprocess.run(["umoci", "raw", "add-layer", "--image", name, str(tar)], check=True, capture_output=True)
        subprocess.run(["umoci", "unpack", "--image", name, str(tmp_path / "b")], check=True, capture_output=True)
        unpacked = listing(tmp_path / "b/rootfs")
        tar.unlink()
        made = {"proc", "sys", "dev", "var/tmp", "etc/resolv.conf", "etc/hosts"}
        if builder.mode == "root":
            assert unpacked == {path: row for path, row in listing(kept).items() if path not in made - set(unpacked)}
        assert unpacked["o/g"][:3] == (0o104751, 5, 6)
        assert unpacked["o/l"][1:3] == (9, 9)
        assert unpacked["o/p"][1:3] in ((3_000_000, 4_000_000), (30_000, 40_000))
        assert "bin/yes" not in unpacked
        assert [path for path in unpacked if path.startswith("etc/network")] == ["etc/network", "etc/network/new"]
    finally:
        builder.do(do="remove", place=kept.name)


def test_times_are_set_back_and_bytecode_with_them(anyone, tmp_path):
    header = struct.Struct("<4sIII")
    folder = anyone.folder / "in"
    folder.mkdir()
    for name, flags, time in (("new", 0, EPOCH + 5), ("old", 0, 1000), ("hash", 3, EPOCH + 5)):
        (folder / f"{name}.pyc").write_bytes(header.pack(b"\xa7\r\r\n", flags, time, 9) + b"code")
    folder.chmod(0o755)
    try:
        done = anyone.run(TIMES, binds=[[str(folder), "/in", True]], epoch=EPOCH)
    finally:
        shutil.rmtree(folder)
    assert [done.layer[f"o/{name}"].mtime for name in ("a.py", "b.py", "old")] == [EPOCH, 1000, 1_234_567_890]
    stored = {name: done.layer[f"o/__pycache__/{name}.pyc"].text.encode("latin-1") for name in ("new", "old", "hash")}
    assert {name: header.unpack(data[:16])[2] for name, data in stored.items()} == {
        "new": EPOCH, "old": 1000, "hash": EPOCH + 5,
    }  # fmt: skip
    assert {data[16:] for data in stored.values()} == {b"code"}


def test_the_same_script_gives_the_same_layer_in_every_mode(builders):
    script = "mkdir -p /o; cd /o; echo x > f; chown 5:6 f; adduser -D joe; rm /etc/shadow-; ln f g"
    layers = [builders(mode).run(script, epoch=EPOCH).layer for mode in ("root", "subuid", "single")]
    assert layers[0] == layers[1] == layers[2]


def test_what_is_left_out_is_not_in_the_layer(anyone):
    script = "mkdir -p /var/cache/apt /o/__pycache__; touch /var/cache/apt/x /o/__pycache__/y /o/z"
    done = anyone.run(script, leave_out=["var/cache/apt/*", "*/__pycache__"])
    assert [path for path in done.names if path.startswith(("o", "var/"))] == ["o", "o/z", "var/cache", "var/cache/apt"]


def test_file_capabilities_are_as_outside_of_namespaces(builder):
    """The kernel gives the attribute another form where the namespace's root is another user outside."""
    value = "0100000200040000000000000000000000000000"
    python = f"import os; open('/o', 'w').close(); os.setxattr('/o', 'security.capability', bytes.fromhex('{value}'))"
    binds = [[name, name, True] for name in ("/usr", "/lib", "/lib64")]
    script = f'/usr/bin/python3 -c "{python}"'
    done = builder.run(script, binds=binds)
    assert done.status == 0
    assert done.layer["o"].xattrs == {"security.capability": value}


def test_a_script_starts_soon(builder):
    """0.15 s is the aim on an idle machine; here many may be at work, so one of many starts counts."""
    assert any(builder.run("echo").began < 0.6 for _ in range(30))
