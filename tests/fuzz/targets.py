"""What is fuzzed: each format that comes from strangers, read as sifmake reads it."""

from __future__ import annotations

import io
import json
import os
import shutil
import struct
from contextlib import ExitStack, contextmanager, suppress
from functools import cache
from typing import TYPE_CHECKING

import msgspec
from isal.isal_zlib import crc32

from fuzz import seeds
from fuzz.engine import Target
from fuzz.mutation import mutate, mutate_value
from sifmake.builder.cache_exchange import check_pack as check_pack_of_archive
from sifmake.compare.content_digest import content_digest
from sifmake.definition import read_definition
from sifmake.definition.apps import app_edits
from sifmake.definition.build_labels import About
from sifmake.definition.host_copying import plan_app_copies, plan_host_copies
from sifmake.definition.host_folder import HostFolder
from sifmake.definition.lint import lint_definition
from sifmake.definition.problems import DefinitionPlace
from sifmake.definition.section_choice import SectionChoice
from sifmake.definition.section_files import Below, apply_sections
from sifmake.definition.stage_copying import plan_stage_copies
from sifmake.definition.steps import post_steps
from sifmake.errors import SifmakeError
from sifmake.flatten.flattened import flatten
from sifmake.flatten.tree import Tree
from sifmake.layers.blocks import Workers
from sifmake.layers.codec import make_codec, zstd_module
from sifmake.layers.image_budget import ImageBudget
from sifmake.layers.pack_audit import check_pack
from sifmake.layers.pack_format import FOOTER
from sifmake.layers.pack_proof import prove_pack
from sifmake.layers.pack_reader import open_pack
from sifmake.layers.pack_writer import write_passing
from sifmake.limits import DEFAULT_LIMITS
from sifmake.oci.documents import parse_config, parse_document
from sifmake.oci.membership import indexes_in
from sifmake.oci.platform import parse_platform
from sifmake.progress import Silent
from sifmake.project.configuration import load_configuration
from sifmake.project.images import load_images
from sifmake.project.lock_file import read_lock
from sifmake.project.steps_lock import read_steps_lock
from sifmake.reference import parse_reference, parse_uri
from sifmake.registry.auth_file import parse_auth_file
from sifmake.registry.challenge import parse_challenges
from sifmake.registry.registries_conf import find_locations
from sifmake.registry.upkeep import parse_tags
from sifmake.remote.pack_manifest import PACK, STEP, read_manifest
from sifmake.remote.pack_statement import signed_sha256
from sifmake.remote.unused_marks import parse_marks
from sifmake.rootfs.editing import Editor
from sifmake.rootfs.report import parse_inspection
from sifmake.rootfs.settings import read_settings
from sifmake.runtime.shell_subset import NeedsShell, UnbalancedError, expand_quoted, source, split_words
from sifmake.sif import open_sif, problems
from sifmake.sif.listing import header_lines, list_lines
from sifmake.signing import TrustStore, cleartext, dsse, metadata, verify_file
from sifmake.signing.armor import armored, canonical
from sifmake.signing.certificates import read_certificates
from sifmake.signing.judge import judge_envelope
from sifmake.signing.key_forms import check_blocks, foreign_form
from sifmake.signing.openpgp import verify as verify_text
from sifmake.signing.trust import load_from_folder
from sifmake.sources.base import LayerCandidate
from sifmake.sources.recipe import HEADER as RECIPE_HEADER
from sifmake.sources.recipe import MAGIC, MOST_GRAIN, ROW, parse_recipe
from sifmake.sources.sif_update import plan_update
from sifmake.squashfs.reader import FILE, SquashfsReader
from sifmake.steps.file_list import compare_lists
from sifmake.steps.step_notes import foreign_note
from sifmake.store import Store
from sifmake.store.exchange import read_archive
from support.corpus import SECURITY

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

SMALL = 1 << 16

TAR_BLOCK = 512
CHECKSUM = slice(148, 156)


def file_with(data: bytes, name: str) -> Path:
    """Return a file of this process that holds an input."""
    path = seeds.workplace() / "inputs" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


@contextmanager
def tolerant() -> Iterator[None]:
    """Let the rest of a target go on after an error that users see as one line."""
    with suppress(SifmakeError):
        yield


@cache
def trust() -> TrustStore:
    """Return the keys of the seeds."""
    seeds.images()
    files = [*seeds.workplace().glob("*.pub*"), *seeds.workplace().glob("*.asc"), *SECURITY.glob("?.asc")]
    store = TrustStore()
    for path in files:
        with suppress(SifmakeError):
            store = store.merged(TrustStore.load([path]))
    return store


def read_sif_file(data: bytes) -> None:
    """Look at a SIF file as inspect, sif list, verify and digest do."""
    path = file_with(data, "x.sif")
    with tolerant(), open_sif(path) as sif:
        for line in (*header_lines(sif.header), *list_lines(sif.objects), *problems(sif)):
            str(line)
        for item in sif.objects:
            with tolerant():
                content = sif.read(item, SMALL)
                parse_inspection(content)
    with tolerant():
        verify_file(path, trust())
    with tolerant():
        content_digest(path)


def read_squashfs(data: bytes) -> None:
    """Walk through a squashfs and read all of it that may be read."""
    reader = SquashfsReader(lambda size, at: data[at : at + size] if at >= 0 else b"")
    for node in reader.walk():
        with tolerant():
            reader.read_xattrs(node)
        if node.kind == FILE:
            with tolerant():
                reader.digest(node)
            with tolerant():
                for _, chunk in zip(range(50), reader.chunks(node), strict=False):
                    len(chunk)


def read_layer(data: bytes) -> None:
    """Make a pack of a layer, and the tree of an image that has it twice."""
    path = seeds.workplace() / "inputs" / "x.pack"
    path.parent.mkdir(exist_ok=True)
    candidate = LayerCandidate("x", io.BytesIO(data), data[:512], len(data), "sha256", lambda: len(data))
    with Workers(1) as workers, path.open("wb") as out:
        budget = ImageBudget(DEFAULT_LIMITS)
        write_passing(out, candidate, make_codec("gzip"), workers, DEFAULT_LIMITS, Silent().task("x"), budget)
    with ExitStack() as stack:
        packs = [stack.enter_context(open_pack(path)) for _ in range(2)]
        flatten(packs, 0)
        if packs[0].has_residue:
            prove_pack(packs[0], DEFAULT_LIMITS)


def repair_tar(data: bytes) -> bytes:
    """Make the checksums of what may be tar headers fit."""
    out = bytearray(data)
    for start in range(0, len(out) - TAR_BLOCK + 1, TAR_BLOCK):
        block = out[start : start + TAR_BLOCK]
        if block[257:262] == b"ustar":
            block[CHECKSUM] = b" " * 8
            out[start + CHECKSUM.start : start + CHECKSUM.stop] = b"%06o\0 " % sum(block)
    return bytes(out)


def read_pack(data: bytes) -> None:
    """Check a pack as ``cache import`` does, and use it as a build does."""
    with open_pack(file_with(data, "y.pack")) as pack:
        with tolerant():
            check_pack(pack, DEFAULT_LIMITS)
        with tolerant():
            prove_pack(pack, DEFAULT_LIMITS)
        with tolerant():
            flatten([pack, pack], 0)
        for content in pack.contents[:50]:
            with tolerant():
                pack.read_content(content, SMALL)


def repair_pack(data: bytes) -> bytes:
    """Make footer, sizes and checksums of a pack fit, as far as the sizes leave something."""
    body, footer = data[: -FOOTER.size], data[-FOOTER.size :]
    magic, version, _, _, *sizes, _, _, _ = FOOTER.unpack(footer)
    parts = sum(sizes)
    if parts > len(body):
        return data
    at, end = len(body) - parts, len(body) - sizes[-1]
    fields = (magic, version, crc32(body[:at]), at, *sizes, crc32(body[at:end]), crc32(body[end:]), 0)
    packed = FOOTER.pack(*fields)[:-4]
    return body + packed + struct.pack("<I", crc32(packed))


def change_pack(data: bytes, choose: random.Random) -> bytes:
    """Change a value in one part of a pack's index, or the records of its residue."""
    footer = FOOTER.unpack(data[-FOOTER.size :])
    sizes = list(footer[4:9])
    at = len(data) - FOOTER.size - sum(sizes)
    parts = []
    for size in sizes:
        parts.append(data[at : at + size])
        at += size
    number = choose.choice((0, 0, 1, 1, 2, 3, 4, 4))
    if number == 2:
        parts[2] = mutate(parts[2], parts[2], (), choose)
    elif number == 4:
        records = zstd_module().decompress(parts[4])
        parts[4] = zstd_module().compress(mutate(records, records, (b"\1", b"\0\0\1", b"\3\0"), choose))
    else:
        parts[number] = msgspec.msgpack.encode(mutate_value(msgspec.msgpack.decode(parts[number]), choose))
    body = data[: footer[3]] + b"".join(parts)
    fields = (*footer[:2], 0, footer[3], *map(len, parts), *footer[9:])
    return repair_pack(body + FOOTER.pack(*fields))


def change_json(data: bytes, choose: random.Random) -> bytes:
    """Change a value in a JSON document."""
    return json.dumps(mutate_value(json.loads(data), choose)).encode()


def read_documents(data: bytes) -> None:
    """Read manifests, indexes, configs and what is kept of them."""
    with tolerant():
        parse_document(data)
    with tolerant():
        read_settings(parse_config(data))
    with tolerant():
        parse_inspection(data)
    with tolerant():
        indexes_in(data, lambda _: data)


def read_yaml(data: bytes) -> None:
    """Read a file as configuration, as list of images, as lock and as lock of steps."""
    path = file_with(data, "a.yaml")
    locks = (lambda: read_lock(path), lambda: read_steps_lock(path))
    for read in (lambda: load_configuration(path, path.parent), lambda: load_images(path), *locks):
        with tolerant():
            read()


def read_signature(data: bytes) -> None:
    """Read keys, OpenPGP messages and DSSE envelopes."""
    with tolerant():
        read_certificates(data, "x")
    with tolerant():
        foreign_form(data, "x")
        check_blocks(data, "PUBLIC", "x")
    for name in ("x.pem", "x.asc"):
        with tolerant():
            load_from_folder(file_with(data, name))
    with tolerant():
        metadata.decode(cleartext.split(data).text)
    with tolerant():
        canonical(data)
    with tolerant():
        verify_text(data, trust().certificates, frozenset())
    with tolerant():
        envelope = dsse.decode(data)
        judge_envelope(envelope, trust())
        metadata.decode(envelope.payload)


def read_packets(data: bytes) -> None:
    """Read OpenPGP packets as certificates, and as the signature of a text; armor would hide most changes."""
    with tolerant():
        read_certificates(data, "x")
    with tolerant():
        verify_text(seeds.SIGNED_TEXT + armored(data), trust().certificates, frozenset())


def read_recipe(data: bytes) -> None:
    """Plan an update by a recipe; what is copied and fetched must be the new file from its first byte to its last."""
    recipe = parse_recipe(data, SMALL)
    with file_with(seeds.older_sif(), "older.sif").open("rb") as older:
        update = plan_update(recipe, older.fileno())
    if update is None:
        return
    end = 0
    for step in update.steps:
        if step.start != end or step.size <= 0:
            raise AssertionError(step)
        end = step.end
    if end != recipe.size or sum(step.is_fetched for step in update.steps) > 64:
        raise AssertionError(update)


def repair_recipe(data: bytes) -> bytes:
    """Make number and sum of the ranges fit, and the grain be one."""
    if len(data) < RECIPE_HEADER.size:
        return data
    magic, grain, _, _, digest = RECIPE_HEADER.unpack_from(data)
    count = (len(data) - RECIPE_HEADER.size) // ROW.size
    rows = data[RECIPE_HEADER.size :][: count * ROW.size]
    size = sum(size for size, _ in ROW.iter_unpack(rows))
    return RECIPE_HEADER.pack(magic, grain % (MOST_GRAIN + 1), count, size, digest) + rows


def read_remote(data: bytes) -> None:
    """Read what a remote store of packs may send besides packs; only what was signed may count as signed."""
    for kind in (PACK, STEP):
        with tolerant():
            found = read_manifest(data, kind)
            if not found.pack.digest.startswith("sha256:"):
                raise AssertionError(found)
    with tolerant():
        if signed_sha256(data, seeds.PACK_KEY, trust()) != seeds.PACK_SHA256:
            raise AssertionError(data)
    for read in (parse_tags, parse_marks):
        with tolerant():
            read(data)


def read_words(data: bytes) -> None:
    """Evaluate a script, words and text in quotes."""
    text = data.decode(errors="surrogateescape")
    env = {"A": "a b", "B": "", "LONG": "x" * 1000}
    for read in (
        lambda: source(text, dict(env), set(env), frozenset({"UID"})),
        lambda: split_words(text, env),
        lambda: expand_quoted(text, env),
    ):
        with suppress(NeedsShell, UnbalancedError):
            read()


def read_definition_file(data: bytes) -> None:
    """Read a definition file, cut it into steps, put what its sections leave into a tree, and plan its copies."""
    lint_definition(data, "x.def")
    definition = read_definition(data, "x.def", on_missing=lambda name, *_: name)
    limits = DEFAULT_LIMITS._replace(files_entries=2000)
    place = DefinitionPlace("x.def")
    tree = Tree()
    for stage in definition.stages:
        editor = Editor(tree, 0)
        for edit in app_edits(stage, lambda _: False):
            editor.directory(edit.path) if edit.data is None else editor.write(edit.path, edit.data, edit.mode)
        below = Below(lambda _: b"", {}, data[:1000])
        with suppress(SifmakeError):
            apply_sections(editor, stage, definition.text, below, About("amd64"), SectionChoice(), limits)
        with suppress(SifmakeError):
            post_steps(stage, place)
        folder = HostFolder(seeds.workplace(), (seeds.workplace(),))
        for files in stage.files:
            with suppress(SifmakeError):
                if files.stage:
                    plan_stage_copies(files, tree, Tree(), place, limits)
                else:
                    plan_host_copies(files, folder, tree, place, limits)
        for app in stage.apps:
            with suppress(SifmakeError):
                plan_app_copies(app, folder, tree, place, limits)


def read_archive_of_store(data: bytes) -> None:
    """Take an archive into an empty store."""
    folder = seeds.workplace() / "imported"
    shutil.rmtree(folder, ignore_errors=True)
    archive = file_with(data, "s.tar")
    read_archive(Store.open(folder, environ={}), archive, check_pack_of_archive, kept_note=foreign_note)


def read_texts(data: bytes) -> None:
    """Read references, platforms, challenges, files with credentials, registries.conf, and files of build steps."""
    list(compare_lists(data, seeds.FILE_LIST))
    foreign_note(seeds.STEP, data)
    text = data.decode(errors="surrogateescape")
    for read in (parse_uri, parse_platform, parse_challenges):
        with tolerant():
            read(text)
    with tolerant():
        parse_auth_file(data, "x")
    conf = file_with(data, "registries.conf")
    with tolerant():
        find_locations(parse_reference("a.io/x"), {"CONTAINERS_REGISTRIES_CONF": str(conf), "HOME": os.devnull})


JSON = tuple(rb"""{ } [ ] , : null true NaN 1e999 "\ud800" -1 1111111111111111111111111 """.split())
KEYS = tuple(
    rb""" "config" "digest" "layers" "manifests" "mediaType" "size" "urls" "data" "annotations" "platform" "rootfs"
    "diff_ids" "history" "Env" "Labels" "Entrypoint" "Healthcheck" "subject" "created" """.split()
)
YAML = tuple(rb"""&a *a !!float !!binary !!python/name:os { } [ ] | > ~ .nan 0x 2026-02-30 on ' " # = << ? """.split())
YAML += (b": ", b"- ", b"\n  ", b"<<: *a\n", b"\t", b"---\n", b"...\n", b"%TAG ! x\n", b"&a [*a, *a]\n")
SHELL = tuple(rb"""$ ${ } $( ) ` ' " \ ; export A= :- echo # ~ $$ ${A:- $A """.split())
SHELL += (b"\n", b" ")
DEFINITION = tuple(rb"%post %files %labels %arguments %apprun %appfiles from {{ }} {{A}} -c <<X ** @( !( [!a".split())
DEFINITION += tuple(rb"{a,b} .. case esac in ) fi if then".split())
DEFINITION += (b"\nBootstrap: oci\nFrom: b\n", b"\n# sifmake: step\n", b"\n# sifmake: expires 1d\n", b"\\\n", b"\n%")
TAR = (
    b"ustar\0" + b"00",
    b"GNU.sparse.map=",
    b"17 path=a\n",
    b"30 GNU.sparse.major=1\n",
    b".wh.",
    b"\0" * 512,
    b"\x80\0\0\0",
)
TAR += (b"L", b"K", b"x", b"g", b"S", b"1", b"2", b"../", b"/")
SQUASHFS = (b"hsqs", b"\xff" * 8, b"\x00\x80", b"\x01\x00\x02\x00")
PGP = (
    b"-----BEGIN PGP SIGNATURE-----\n",
    b"-----BEGIN PGP SIGNED MESSAGE-----\n",
    b"Hash: SHA512\n\n",
    b"-----BEGIN PUBLIC KEY-----",
)
PGP += (b"\xff", b"\xc2\xff", b"\x89", b"\x04\x00", b"=AAAA\n")

PACKETS = (
    b"\xc2",
    b"\x88",
    b"\xff",
    b"\xff\xff\xff\xff\xff",
    b"\x04\x00\x16\x0a",
    b"\x04\x01",
    b"\x21\x04",
    b"\x02\x10\x1b",
    b"\x00" * 8,
)

TARGETS = {
    target.name: target
    for target in (
        Target("sif", seeds.sif_files, read_sif_file, tokens=(b"SIF_MAGIC\0", b"\x01\0\0\xf0", *JSON, *PGP)),
        Target("tar", seeds.tar_files, read_layer, repair_tar, TAR),
        Target(
            "packs",
            lambda: list(seeds.packs()),
            read_pack,
            repair_pack,
            (b"\x90", b"\xc4\0", b"\xdd\xff\xff\xff\xff", b"\xcf"),
            change_pack,
        ),
        Target("squashfs", seeds.squashfs_files, read_squashfs, tokens=SQUASHFS),
        Target("json", seeds.documents, read_documents, tokens=JSON + KEYS, change=change_json),
        Target("yaml", seeds.yaml_files, read_yaml, tokens=YAML),
        Target("signatures", seeds.keys_and_signatures, read_signature, tokens=PGP + JSON, change=change_json),
        Target("packets", seeds.packets, read_packets, tokens=PACKETS),
        Target("recipes", seeds.recipes, read_recipe, repair_recipe, (MAGIC, b"\xff\xff\xff\xff", bytes(4))),
        Target("remotes", seeds.remotes, read_remote, tokens=JSON + KEYS, change=change_json),
        Target("words", seeds.scripts, read_words, tokens=SHELL),
        Target("definitions", seeds.definitions, read_definition_file, tokens=DEFINITION),
        Target("archives", seeds.archives, read_archive_of_store, repair_tar, TAR),
        Target("texts", seeds.texts, read_texts, tokens=(*JSON, b"://", b"@sha256:", b"[[registry]]\n", b'realm="')),
    )
}
"""All targets by name."""
