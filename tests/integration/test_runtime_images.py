"""Images named by URI, real programs as an ordinary user, and signatures that the configuration asks for."""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from support.corpus import CORPUS
from support.golden_sif import build_golden_sif
from support.images import Blobs, write_layout
from support.layers import file, symlink, tar
from support.runtime import as_ordinary, environment, needs_root, needs_runtime, open_folder, run
from support.signing import pem_pair, signed

OFFICIAL = CORPUS / "images" / "busybox-official-amd64"
PYTHON = "/usr/bin/python3"


@pytest.fixture(scope="module")
def folder():
    with open_folder() as path:
        yield path


@needs_runtime
@needs_root
@pytest.mark.parametrize("name", sorted(path.name for path in OFFICIAL.glob("*")) if OFFICIAL.is_dir() else [])
def test_official_busybox_by_uri(name, folder):
    """Pulled into the store on first use, found there afterwards, also offline and as an ordinary user."""
    layout = OFFICIAL / name / "amd64"
    if not (layout / "index.json").is_file():
        pytest.skip("not an OCI layout")
    env = environment(SIFMAKE_CACHE=str(folder / "store"))
    script = "busybox | head -1; id -u; ls /bin | wc -l"
    first = run("exec", f"oci:{layout}", "sh", "-c", script, env=env)
    assert first.returncode == 0, first.stderr
    assert re.match(r"BusyBox v1\.\d+", first.stdout.decode())
    again = run("exec", "--offline", f"oci:{layout}", "sh", "-c", script, env=env)
    assert (again.returncode, again.stdout, again.stderr) == (0, first.stdout, b"")
    [*_, sif] = sorted((folder / "store" / "sif").rglob("*.sif"), key=lambda path: path.stat().st_mtime)
    copy = shutil.copy(sif, folder / "stored.sif")  # the store of another user is not to be read
    Path(copy).chmod(0o644)
    other = run("exec", str(copy), "sh", "-c", script, before=as_ordinary(fuse=True), cwd="/")
    assert other.stdout.replace(b"\n1000\n", b"\n0\n") == first.stdout, other.stderr


@needs_runtime
def test_exec_imports_nothing_heavy(folder):
    """Imports are the largest part of the start of a small program; one at the wrong place costs every user."""
    layout = OFFICIAL / "musl" / "amd64"
    if not (layout / "index.json").is_file():
        pytest.skip("the corpus is not there")
    assert run("pull", str(folder / "small.sif"), f"oci:{layout}").returncode == 0
    done = run("exec", str(folder / "small.sif"), "true", env=environment(PYTHONPROFILEIMPORTTIME="1"))
    imported = {line.rpartition(b"|")[2].strip().decode() for line in done.stderr.splitlines()}
    assert done.returncode == 0
    assert "sifmake.runtime" in imported
    assert imported.isdisjoint({"argparse", "enum", "json", "msgspec", "pathlib", "re", "subprocess", "typing"})


@needs_runtime
def test_offline_without_the_image(folder):
    env = environment(SIFMAKE_CACHE=str(folder / "empty-store"))
    done = run("exec", "--offline", "docker://localhost:1/no/such:tag", "true", env=env)
    assert done.returncode == 255
    assert b"is not in the store, and the run is offline" in done.stderr


@pytest.fixture(scope="module")
def python_image(folder):
    """An OCI layout of this machine's Debian python3: its packages' files and the libraries that they need."""
    real = Path(PYTHON).resolve()
    if not real.is_file() or not Path(f"/usr/lib/{real.name}").is_dir():
        pytest.skip("Debian's python3 is not installed")
    library = Path(f"/usr/lib/{real.name}")
    extensions = [
        library / "lib-dynload" / name
        for name in os.listdir(library / "lib-dynload")
        if re.match("_(hashlib|ssl|sqlite3|lzma|ctypes)", name)
    ]
    listing = subprocess.run(
        ["ldd", str(real), *map(str, extensions)], capture_output=True, text=True, check=True
    ).stdout
    libraries = {Path(path) for path in re.findall(r"(/\S*lib\S+\.so\S*) ", listing)}
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w") as tar:
        for link in ("bin", "lib", "lib64"):
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, f"usr/{link}"
            tar.addfile(info)
        for path in sorted({real, Path("/bin/dash").resolve(), *libraries}):
            tar.add(path.resolve(), f"usr{path}" if not str(path).startswith("/usr") else str(path)[1:])
        for name, target in (("usr/bin/python3", real.name), ("usr/bin/sh", "dash")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
        tar.add(
            library,
            str(library)[1:],
            filter=lambda info: None if re.search("__pycache__|/test|idlelib|config-", info.name) else info,
        )
    blobs = Blobs()
    return write_layout(
        folder / "python",
        blobs,
        [blobs.image([raw.getvalue()], config={"Entrypoint": [PYTHON], "Env": ["PATH=/usr/bin:/bin", "LANG=C.UTF-8"]})],
    )


@needs_runtime
@needs_root
@pytest.mark.parametrize("fuse", [True, False])
def test_python_as_an_ordinary_user(python_image, folder, fuse):
    sif = folder / "python.sif"
    if not sif.exists():
        assert run("pull", str(sif), f"oci:{python_image}").returncode == 0
    script = (
        "import hashlib, json, os, sqlite3, sys;"
        " digest = hashlib.sha256(sys.argv[1].encode()).hexdigest()[:8];"
        " print(json.dumps([os.getuid(), digest, os.path.exists('/opt')]))"
    )
    done = run("run", "--no-eval", str(sif), "-c", script, "$HOME", before=as_ordinary(fuse=fuse), cwd=folder)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [1000, "3fd9f5e7", False]


@needs_runtime
def test_signature_is_required_where_the_configuration_says_so(tmp_path, folder):
    sif = build_golden_sif("ep-only", folder)
    keys = tmp_path / "config" / "keys"
    keys.mkdir(parents=True)
    pair = pem_pair(tmp_path)
    shutil.copy(pair.public, keys)
    (tmp_path / "config" / "config.yaml").write_text("require-signature: true\ntrusted-keys: [config/keys]\n")
    done = run("run", str(sif), cwd=tmp_path)
    assert done.returncode != 0
    assert done.stdout == b""
    assert b"refusing to run: the file does not verify: it is not signed" in done.stderr
    copy = tmp_path / "signed.sif"
    shutil.copy(sif, copy)
    signed(copy, pair)
    assert run("run", str(copy), cwd=tmp_path).returncode == 0
    data = bytearray(copy.read_bytes())
    data[len(data) // 2] ^= 1
    copy.write_bytes(data)
    assert run("run", str(copy), cwd=tmp_path).returncode != 0
    shutil.rmtree(keys)
    assert run("run", str(copy), cwd=tmp_path).returncode != 0


SCRIPTED = """if [ -d /bin ]; then
    export COND=yes
fi
export LATE="$COND/$EARLY" PATH=/opt/tool/bin:$PATH
"""


@needs_runtime
def test_scripts_that_need_a_shell_are_run_by_the_images(folder):
    """An environment script with more than assignments, as %environment of a definition file may have."""
    base = gzip.decompress((OFFICIAL / "musl" / "amd64" / "rootfs.tar.gz").read_bytes())
    extra = tar(file(".singularity.d/env/50-site.sh", SCRIPTED.encode()))
    blobs = Blobs()
    config = {"Env": ["EARLY=first", "PATH=/bin"], "Entrypoint": ["/bin/sh", "-c", 'printf "%s|" "$@"', "x"]}
    layout = write_layout(folder / "scripted", blobs, [blobs.image([base, extra], config=config)])
    sif = folder / "scripted.sif"
    assert run("pull", str(sif), f"oci:{layout}").returncode == 0
    env = environment(FROM_HOST="h x", COND="host", APPTAINERENV_MINE="$COND `echo me`")
    script = 'echo "$COND $LATE $FROM_HOST $MINE ${PATH%%:*}"'
    done = run("exec", str(sif), "sh", "-c", script, env=env)
    assert done.stdout.decode() == "yes yes/first h x yes me /opt/tool/bin\n", done.stderr
    done = run("run", str(sif), "$FROM_HOST", "$(uname | tr a-z A-Z)", env=env)
    assert done.stdout.decode() == "h x|LINUX|", done.stderr


@needs_runtime
@needs_root
def test_kernel_mounts_where_fuse_does_not_work(folder):
    sif = build_golden_sif("ep-only", folder)
    before = ["unshare", "-m", "sh", "-c", 'mount --bind /dev/null /dev/fuse && exec "$@"', "sh"]
    done = run("exec", str(sif), "cat", "/proc/self/mounts", before=before)
    assert done.returncode == 0, done.stderr
    assert {line.split()[2] for line in done.stdout.decode().splitlines() if line.split()[1] == "/"} <= {
        "squashfs",
        "tmpfs",
    }
    assert b" squashfs " in done.stdout
    assert str(sif) not in subprocess.run(["losetup", "-l"], capture_output=True, text=True, check=True).stdout


ZONE = "usr/share/zoneinfo/Etc/Elsewhere"
LOCALTIME = {
    "file": [file("etc/localtime", b"image\n")],
    "nothing": [],
    "link": [symlink("etc/localtime", f"/{ZONE}"), file(ZONE, b"zone\n")],
    "dangling link": [symlink("etc/localtime", "../no/such/zone")],
}


@needs_runtime
@needs_root
@pytest.mark.parametrize("user", ["root", "ordinary", "ordinary, no FUSE"])
@pytest.mark.parametrize("name", LOCALTIME)
def test_the_time_zone_is_the_hosts(folder, name, user):
    """As with Apptainer: a file of its own, whatever the image has there; what a link leads to stays as it is."""
    host = Path("/etc/localtime")
    if not host.is_file():
        pytest.skip("this machine has no /etc/localtime")
    sif = folder / f"zone-{name.replace(' ', '-')}.sif"
    if not sif.exists():
        base = gzip.decompress((OFFICIAL / "musl" / "amd64" / "rootfs.tar.gz").read_bytes())
        blobs = Blobs()
        layers = [without(base, "etc/localtime"), tar(*LOCALTIME[name])]
        layout = write_layout(folder / sif.stem, blobs, [blobs.image(layers, config={"Env": ["PATH=/bin"]})])
        assert run("pull", str(sif), f"oci:{layout}", cwd=folder).returncode == 0
    before = [] if user == "root" else as_ordinary(fuse="no FUSE" not in user)
    script = (
        f"test -L /etc/localtime || cat /etc/localtime; cat /{ZONE} 2>/dev/null; stat -c %a /etc; cat /etc/network/*"
    )
    done = run("exec", str(sif), "sh", "-c", script, before=before, cwd="/")
    zone = b"zone\n" if name == "link" else b""
    assert done.stdout == host.read_bytes() + zone + b"755\n", done.stderr
    done = run(
        "exec", "--no-mount", "/etc/localtime", str(sif), "sh", "-c", "cat /etc/localtime", before=before, cwd="/"
    )
    assert done.stdout == {"file": b"image\n", "link": b"zone\n"}.get(name, b"")


def without(data, left_out):
    """Return a tar archive without one of its entries."""
    raw = io.BytesIO()
    with tarfile.open(fileobj=io.BytesIO(data)) as old, tarfile.open(fileobj=raw, mode="w") as new:
        for info in old:
            if info.name.removeprefix("./") != left_out:
                new.addfile(info, old.extractfile(info) if info.isreg() else None)
    return raw.getvalue()
