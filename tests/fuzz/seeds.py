"""Inputs to start from: of the shared corpus where it is, and small ones that are made here."""

from __future__ import annotations

import contextlib
import gzip
import json
import os
import re
import shutil
import subprocess
import tempfile
from functools import cache
from hashlib import sha256
from pathlib import Path

from sifmake.cli.main import main
from sifmake.layers.codec import make_codec
from sifmake.oci.digest import digest_bytes
from sifmake.oci.model import Descriptor
from sifmake.project.lock_file import format_lock
from sifmake.project.locks import Build, Lock, LockedLayer
from sifmake.project.steps_lock import LockedStep, StepsLock, format_steps_lock
from sifmake.reference import parse_uri
from sifmake.remote.pack_manifest import DSSE, PACK, annotations_of, write_manifest
from sifmake.remote.pack_statement import sign_pack
from sifmake.signing import Passphrase
from sifmake.signing.armor import dearmored
from sifmake.sources.recipe import MOST_GRAIN, make_recipe
from sifmake.sources.recipe_cuts import cut_sif
from sifmake.steps.step_notes import StepNote, note_bytes
from support.corpus import CORPUS, SECURITY, SIF_BROKEN, SIF_FROM_PEERS, SIF_IMAGES
from support.images import Blobs, write_layout, write_oci_archive
from support.layers import file, folder, hardlink, make_pack, symlink, tar
from support.sif_files import partition_of
from support.sif_versions import sif_version
from support.signing import pem_pair, pgp_pair, signed, write_sif

PACK_SHA256 = "b" * 64
PACK_KEY = f"{'a' * 64}-gzip6-128k-v2-0123456789abcdef"
SIGNED_TEXT = b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA512\n\n{}\n"
LARGEST = 1 << 20
"""Bytes of a file of the corpus that is used: with large ones, little is tried in a second."""
MOST = 60
"""Files of a kind that are used."""


def corpus(*patterns: str, under: Path = CORPUS) -> list[bytes]:
    """Return small files of the corpus; none where there is no corpus."""
    paths = sorted({path for pattern in patterns for path in under.glob(pattern)} if under.is_dir() else set())
    small = [path for path in paths if path.is_file() and 0 < path.stat().st_size <= LARGEST]
    return [path.read_bytes() for path in small[:MOST]]


@cache
def workplace() -> Path:
    """Return a folder of this process for files that have to have a name."""
    return Path(tempfile.mkdtemp(prefix="sifmake-fuzz-"))


def layers() -> list[bytes]:
    """Return tar streams with everything that a layer may have."""
    capability = {"SCHILY.xattr.security.capability": "\x01\x00\x00\x02\x00\x20" + "\x00" * 14}
    one = tar(folder("etc/"), file("etc/a", b"a" * 3000), symlink("l", "etc/a"), hardlink("h", "etc/a"))
    two = tar(file("bin/x", b"x" * 200, mode=0o4755, pax_headers=capability), file("etc/.wh.a"), file("b/.wh..wh..opq"))
    long = tar(file("n" * 90 + "/" + "m" * 200, b"long", mtime=-1.5), symlink("s", "t" * 300))
    return [one, two, long, gzip.compress(one, mtime=0), gzip.compress(one[:2000], mtime=0) + gzip.compress(one[2000:])]


@cache
def images() -> tuple[bytes, ...]:
    """Return SIF files: built from an image, signed in both ways, and made of a few objects."""
    place = workplace()
    blobs = Blobs()
    config = {"Env": ["A=b c", "PATH=/bin"], "Entrypoint": ["/bin/sh", "-c"], "Cmd": ["x"], "Labels": {"l": "v"}}
    image = blobs.image([tar(folder("etc/"), file("etc/a", b"a" * 3000), symlink("l", "etc/a"))], config=config)
    write_layout(place / "layout", blobs, {"1": image})
    write_oci_archive(place / "image.tar", blobs, {"1": image})
    built = place / "built.sif"
    if main(["-q", "pull", "-F", str(built), f"oci:{place / 'layout'}:1"]) != 0:
        raise RuntimeError("the seed cannot be built")
    files = [built.read_bytes()]
    for kind, pair in (("pem", pem_pair(place)), ("pgp", pgp_pair(place))):
        files.append(signed(write_sif(place / f"{kind}.sif", groups={1: 1, 2: 1}), pair).read_bytes())
    return tuple(files)


def sif_files() -> list[bytes]:
    """Return SIF files."""
    found = corpus("*.sif", under=SECURITY) + corpus("*.sif", under=SIF_IMAGES)
    return [*images(), *found, *corpus("*.sif", under=SIF_FROM_PEERS), *corpus("*", under=SIF_BROKEN)]


def uncompressed() -> list[bytes]:
    """Return a squashfs whose tables are not compressed, where a changed byte is a changed field."""
    if not shutil.which("mksquashfs"):
        return []
    root = workplace() / "root"
    if not root.exists():
        (root / "etc" / "deep" / "er").mkdir(parents=True)
        for number in range(30):
            (root / "etc" / f"file-{number}").write_bytes(b"x" * number * 700)
        (root / "etc" / "large").write_bytes(bytes(300_000) + b"end")
        (root / "link").symlink_to("etc/deep")
        os.link(root / "etc" / "file-3", root / "hard")
        os.mkfifo(root / "fifo")
        os.setxattr(root / "hard", "user.a", b"value" * 20)
    image = workplace() / "plain.squashfs"
    plain = ("-noI", "-noD", "-noF", "-noX", "-noId", "-b", "4096", "-quiet", "-no-progress", "-noappend")
    subprocess.run(["mksquashfs", root, image, *plain], check=True, capture_output=True)
    return [image.read_bytes()]


def squashfs_files() -> list[bytes]:
    """Return squashfs images: those of the SIF files, and single ones of the corpus."""
    found = corpus("squashfs/**/*.sqfs", "squashfs/**/*.squashfs", "squashfs/**/*.img")
    names = ["built.sif"] if images() else []
    paths = [workplace() / name for name in names] + [SECURITY / name for name in ("hl-good.sif", "ids.sif", "far.sif")]
    return (
        uncompressed()
        + found
        + [partition_of(path, workplace() / "part").read_bytes() for path in paths if path.exists()]
    )


def tar_files() -> list[bytes]:
    """Return tar streams, plain and compressed."""
    return layers() + corpus("tar/**/*.tar", "tar/**/*.tar.gz", "security/bp-*.tar")


@cache
def packs() -> tuple[bytes, ...]:
    """Return layer packs of both codecs."""
    made = []
    for number, raw in enumerate(layers()[:3]):
        for codec in ("gzip", "zstd"):
            path = workplace() / f"{number}-{codec}.pack"
            make_pack(path, raw, codec=make_codec(codec)).close()
            made.append(path.read_bytes())
    return tuple(made)


def documents() -> list[bytes]:
    """Return manifests, indexes and configs."""
    blobs = Blobs()
    config = {"Env": ["A=b"], "Entrypoint": ["x"], "Cmd": [], "Labels": {"l": "v"}, "User": "1:2", "WorkingDir": "/w"}
    config |= {"Healthcheck": {"Test": ["NONE"], "Interval": 1}, "Volumes": {"/v": {}}, "ExposedPorts": {"1/tcp": {}}}
    image = blobs.image([tar(file("a", b"a"))], config=config)
    index = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [image]}
    known = [data for data in blobs.data.values() if data[:1] == b"{"]
    more = corpus("generated/**/blobs/sha256/*", "trust/*.json", "oci/**/index.json", "oci/**/manifest.json")
    return [*known, json.dumps(index).encode(), *(data for data in more if data.lstrip()[:1] in (b"{", b"["))]


def yaml_files() -> list[bytes]:
    """Return configurations, lists of images and locks."""
    digest = "sha256:" + "a" * 64
    build = Build("gzip", {"l": "v w"}, "development", {"pull": 1, "sif": 2})
    source, layers = parse_uri("docker://a:1"), (LockedLayer(digest, 5),)
    lock = Lock(source, "docker.io/library/a:1", digest, "linux/amd64", digest, digest, layers, build=build)
    config = (
        b"store: {path: cache}\nregistries:\n  a.io: {mirrors: [b.io/x], plain-http: true}\nlimits: {layer-bytes: 9}\n"
    )
    image = (
        b"defaults: &d {sign: false}\nimages:\n  a: {<<: *d, from: 'docker://a', tags: ['1', '2'], labels: {x: y}}\n"
    )
    steps = StepsLock((LockedStep(STEP, "make", digest, "root", digest, digest, digest, ended=True),))
    return [config, image, format_lock(lock), format_steps_lock(steps), *corpus("definition/**/*.yaml")]


def keys_of_corpus() -> list[bytes]:
    """Return keys, signatures and bundles of the corpus."""
    return corpus("security/*.asc", "sif/**/*.asc", "sif/**/keys/*", "trust/keys/*", "trust/*.json")


def keys_and_signatures() -> list[bytes]:
    """Return keys, signed texts and envelopes."""
    from sifmake.sif import DataType, open_sif

    found = keys_of_corpus()
    images()
    for name in ("pem", "pgp"):
        with open_sif(workplace() / f"{name}.sif") as sif:
            found += [sif.read(item) for item in sif.find(DataType.SIGNATURE)]
    return found + [path.read_bytes() for path in sorted(workplace().glob("*.p*")) if path.stat().st_size < LARGEST]


def packets() -> list[bytes]:
    """Return OpenPGP packets without armor: certificates, and signatures of :data:`SIGNED_TEXT`."""
    found = []
    for data in keys_and_signatures():
        for block in re.findall(rb"-----BEGIN PGP [A-Z ]*-----.*?-----END PGP [A-Z ]*-----", data, re.DOTALL):
            with contextlib.suppress(ValueError, IndexError):
                found.append(dearmored(block))
    return found


@cache
def older_sif() -> bytes:
    """Return a SIF file from which recipes lead to a newer one."""
    return sif_version(size=300_000)


def recipes() -> list[bytes]:
    """Return recipes of a SIF file that is much like the older one, with three grains."""
    data = sif_version(newer=True, size=300_000)
    found = []
    for grain in (0, 1, MOST_GRAIN):
        path = workplace() / "newer.sif"
        path.write_bytes(data)
        with path.open("rb") as file:
            pieces = cut_sif(file.fileno(), grain)
            found.append(make_recipe(grain, pieces, f"sha256:{sha256(data).hexdigest()}", 1 << 20).encode())
    return found


def remotes() -> list[bytes]:
    """Return manifests of packs in both forms, a signed statement, a list of tags and one of what is unused."""
    pair = pem_pair(workplace())
    statement = sign_pack(PACK_KEY, PACK_SHA256, str(pair.secret), Passphrase())
    blobs = [Descriptor(PACK, f"sha256:{PACK_SHA256}", 99), Descriptor(DSSE, digest_bytes(statement), len(statement))]
    return [
        write_manifest(blobs, PACK, annotations_of(PACK_KEY)),
        write_manifest(blobs[:1], PACK, {}, plain=True),
        statement,
        json.dumps({"name": "site/packs", "tags": [PACK_KEY, f"step-{PACK_SHA256}", "latest"]}).encode(),
        json.dumps({PACK_KEY: 1790000000}).encode(),
    ]


def scripts() -> list[bytes]:
    """Return shell texts as images have them."""
    own = [
        b'#!/bin/sh\nexport PATH="/usr/bin:$PATH"\nexport A=${B:-"c d"}\nexport C=`echo x`\n',
        b"export X=$(echo ${Y-z}) ; Z='q'\\''r'\nif [ -n \"$A\" ]; then\n  B=1\nfi\n",
        b'CMD="/bin/sh" "-c" "a b"\nset -- ${SINGULARITY_OCI_RUN} "$@"\n',
    ]
    return own + corpus("golden/**/*.sh", "definition/**/*.sh", "sif/**/*.sh")


STEP = "ab" * 32
"""Key of a step."""
FILE_LIST = b"sifmake files 1\nd 755 0 0 1 0 - - /a -\nf 644 0 0 1 2 %b 0123456789abcdef /a%%20b -\n" % (b"0" * 64)


def archives() -> list[bytes]:
    """Return archives of images and of a store."""
    images()
    store = workplace() / "store.tar"
    if not store.exists() and main(["-q", "cache", "export", str(store)]) != 0:
        return [(workplace() / "image.tar").read_bytes()]
    return [(workplace() / "image.tar").read_bytes(), store.read_bytes(), *corpus("security/bp-*.tar")]


def texts() -> list[bytes]:
    """Return references, challenges, and files of other tools."""
    return [
        b"docker://user@host:5000/a/b:1@sha256:" + b"a" * 64,
        b"oci-archive:a b.tar:x:1",
        FILE_LIST,
        note_bytes(StepNote(STEP, f"sha256:{STEP}", "root", "make", b"A b\n", b"export X\n")),
        b'Bearer realm="https://a.io/token",service="a",scope="repository:x:pull", Basic realm=x',
        b'{"auths": {"a.io": {"auth": "YTpi"}}, "credHelpers": {"b.io": "x"}}',
        b'[[registry]]\nprefix = "a.io"\nlocation = "b.io/x"\n[[registry.mirror]]\nlocation = "c.io"\n',
        b"linux/arm64/v8",
    ]


def definitions() -> list[bytes]:
    """Return definition files."""
    own = [
        b"Bootstrap: docker\nFrom: alpine:{{ TAG }}\n%arguments\nTAG=3\nA={{ TAG }}\n%post\nif a; then\nx\nfi\n",
        b"bootstrap: oci\nFrom: x\n%post -c bash\ncat <<X\n$(x)\nX\nfi\n# sifmake: step\nx=$(case y in a) b;; esac)\n",
        b"bootstrap: scratch\nStage: a\n%labels\na b\nBootstrap: oci\\\n# c\nFrom: x\n%files from a\n/*/@(b|c) /d/\n",
        b'Bootstrap: oci\nFrom: b\n%files\n "a b"/{c,d}* ~/**/[a-z]\n../x\n%appfiles n\nx y\n%apprun n\n#!/x\n',
    ]
    return own + corpus("definition/defs/*.def", "definition/bad/*.def")
