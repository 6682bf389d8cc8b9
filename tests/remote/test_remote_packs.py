"""Packs from a registry or web server: found, checked, and left alone where it fails."""

from __future__ import annotations

import json
import threading
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from types import SimpleNamespace

import pytest

from sifmake.errors import ConfigError
from sifmake.layers.codec import make_codec
from sifmake.layers.pack_format import pack_key
from sifmake.limits import DEFAULT_LIMITS
from sifmake.progress import Silent
from sifmake.remote.pack_manifest import PACK
from sifmake.remote.pushing import push_packs
from sifmake.remote.remote_packs import RemotePacks, Transfer
from sifmake.remote.settings import RemoteSettings
from sifmake.store import Store
from support.images import digest_of
from support.layers import diff_id_of, file, folder, make_pack, tar
from support.packs import drop_residue, tamper
from support.pulling import Messages, settings
from support.registry import Answer, FakeRegistry, Uploads, error
from support.signing import pem_pair

LAYER = tar(folder("bin/"), file("bin/tool", b"tool" * 60_000), file("bin/other", b"x" * 300))
EVIL = tar(folder("bin/"), file("bin/tool", b"evil" * 60_000), file("bin/other", b"x" * 300))
PATIENCE = DEFAULT_LIMITS._replace(remote_seconds=30)
HASTE = DEFAULT_LIMITS._replace(remote_seconds=0.2, remote_slowest_rate=1000)
"""For servers that are too slow in any case, so that load changes nothing."""


def key_of(raw):
    return pack_key(diff_id_of(raw), make_codec("gzip"))


KEY = key_of(LAYER)


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    """Return a store that has the pack."""
    store = Store(tmp_path_factory.mktemp("filled") / "store")
    for raw in (LAYER, EVIL):
        path = store.root / "packs" / key_of(raw)[:2] / key_of(raw)
        path.parent.mkdir(parents=True)
        make_pack(path, raw).close()
        path.chmod(0o644)
    return store


@pytest.fixture
def registry():
    with FakeRegistry() as running:
        Uploads(running)
        yield running


class Client:
    """One machine with a store of its own.

    Attributes:
        told: What was said.
    """

    def __init__(self, folder, *remotes, limits=PATIENCE):
        self.told = Messages()
        self.store = Store(folder / "own")
        self._packs = RemotePacks(remotes, self.store, settings(limits=limits, progress=self.told), {})

    def fetch(self, key=KEY):
        """Return the bytes of the pack; None if it has to come from elsewhere."""
        pack = self._packs.fetch(key, Transfer(len(LAYER), Silent(), lambda reader, _: reader))
        if pack is None:
            assert not [path for path in self.store.root.rglob("*") if path.is_file() and path.name != ".swept"]
            return None
        with pack:
            return pack.path.read_bytes()


def remote_of(registry, **changes):
    return RemoteSettings(f"oci://{registry.host}/site/packs", **changes)


def push(registry, store, *keys, **changes):
    return push_packs(keys or [KEY], store, remote_of(registry, **changes), settings(limits=DEFAULT_LIMITS))


def pack_in(store, key=KEY):
    return (store.root / "packs" / key[:2] / key).read_bytes()


def test_a_pushed_pack_is_fetched(registry, filled, tmp_path):
    assert push(registry, filled).uploaded == (KEY,)
    client = Client(tmp_path, remote_of(registry))
    assert client.fetch() == pack_in(filled)
    assert client.told.warnings == []
    assert registry.count("PUT", "/manifests/") == 1
    again = push(registry, filled)
    assert (again.uploaded, again.known) == ((), 1)
    assert registry.count("PUT") == 3, "pack, empty config and manifest, once"


def test_a_miss_is_silent(registry, tmp_path):
    client = Client(tmp_path, remote_of(registry))
    assert client.fetch() is None
    assert client.fetch(key_of(EVIL)) is None
    assert (client.told.warnings, registry.count("GET")) == ([], 2)


def test_the_next_remote_store_is_asked(registry, filled, tmp_path):
    push(registry, filled)
    with FakeRegistry() as empty:
        client = Client(tmp_path, remote_of(empty), remote_of(registry))
        assert client.fetch() == pack_in(filled)
        assert empty.count("GET") == 1


@pytest.mark.parametrize("status", [401, 403, 500, 503])
def test_a_store_that_fails_is_left_alone_after_one_warning(registry, filled, tmp_path, status):
    push(registry, filled)
    before = registry.count("GET")
    registry.on("GET", "/manifests/", error(status, "DENIED"))
    client = Client(tmp_path, remote_of(registry))
    assert client.fetch() is None
    requests = registry.count("GET") - before
    assert requests <= 2
    assert client.fetch() is None
    assert registry.count("GET") - before == requests
    (warning,) = client.told.warnings
    assert registry.host in warning
    assert "not asked again in this run" in warning


def test_a_store_that_is_down_costs_one_attempt(tmp_path):
    with FakeRegistry() as gone:
        remote = remote_of(gone)
    client = Client(tmp_path, remote)
    threads = [threading.Thread(target=client.fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(client.told.warnings) == 1


@pytest.mark.parametrize("part", ["/manifests/", "/blobs/"])
@pytest.mark.parametrize("how", [{"stall": 1, "cut": 50}, {"trickle": 0.05}])
def test_a_stall_ends_soon(registry, filled, tmp_path, part, how):
    push(registry, filled)
    registry.on("GET", part, lambda request: request.served(**how))
    client = Client(tmp_path, remote_of(registry), limits=HASTE)
    assert client.fetch() is None
    assert len(client.told.warnings) == 1


def put_manifest(registry, document):
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    registry.tag("site/packs", KEY, registry.blobs.put(data, "application/vnd.oci.image.manifest.v1+json"))


def manifest_of(registry):
    return json.loads(registry.blobs[registry.serve_digest("site/packs", KEY)])


def test_other_artifacts_and_endless_manifests_are_refused(registry, filled, tmp_path):
    push(registry, filled)
    good = manifest_of(registry)
    for document, words in (
        ({**good, "artifactType": "application/vnd.example"}, "something else"),
        ({**good, "annotations": {"a": "x" * 70_000}}, "more than 65536 bytes"),
        ({**good, "layers": [{**good["layers"][0], "size": 70 << 20}]}, "more than the pack of this layer"),
        ({**good, "layers": [{**good["layers"][0], "size": 17}]}, "17"),
        ({**good, "layers": [{**good["layers"][0], "digest": f"sha256:{'0' * 64}"}]}, "not there"),
    ):
        put_manifest(registry, document)
        client = Client(tmp_path, remote_of(registry))
        assert client.fetch() is None
        (warning,) = client.told.warnings
        assert words in warning


def test_every_flipped_byte_of_the_pack_is_noticed(registry, filled, tmp_path):
    """By the digest of the blob, which the registry does not check when it sends it."""
    push(registry, filled)
    good = pack_in(filled)
    places = iter(range(0, len(good), max(1, len(good) // 6)))
    at = 0

    def flipped(request):
        body = bytearray(request.served().body)
        body[at] ^= 1
        return request.served(body=bytes(body))

    registry.on("GET", digest_of(good), flipped)
    for at in places:  # noqa: B007 - flipped reads it
        assert Client(tmp_path, remote_of(registry)).fetch() is None


def lie(filled, registry, change, tmp_path):
    """Put a pack under the key whose checksums hold, and whose content does not."""
    path = tmp_path / "lie"
    path.write_bytes(pack_in(filled))
    change(path)
    blob = registry.blobs.put(path.read_bytes(), PACK)
    document = manifest_of(registry)
    document["layers"] = [blob]
    put_manifest(registry, document)


def claim_to_be(diff_id, other):
    def change(parts):
        meta = parts["meta"]
        for name, value in list(meta.items() if isinstance(meta, dict) else enumerate(meta)):
            if value == other:
                meta[name] = diff_id

    return change


def test_a_pack_of_another_layer_is_a_lie(registry, filled, tmp_path):
    push(registry, filled)
    lie(filled, registry, lambda path: path.write_bytes(pack_in(filled, key_of(EVIL))), tmp_path)
    client = Client(tmp_path, remote_of(registry))
    assert client.fetch() is None
    assert "another layer" in client.told.warnings[0]


def test_a_pack_that_says_it_is_of_this_layer_is_a_lie(registry, filled, tmp_path):
    def change(path):
        path.write_bytes(pack_in(filled, key_of(EVIL)))
        tamper(path, claim_to_be(diff_id_of(LAYER), diff_id_of(EVIL)))

    push(registry, filled)
    lie(filled, registry, change, tmp_path)
    client = Client(tmp_path, remote_of(registry))
    assert client.fetch() is None
    assert len(client.told.warnings) == 1


def test_a_right_layer_with_a_wrong_index_is_a_lie(registry, filled, tmp_path):
    """The rebuilt layer has the DiffID, but the image would get another mode."""

    def setuid(parts):
        names = next(entry for entry in parts["entries"] if b"bin/tool" in entry or "bin/tool" in map(str, entry))
        names[names.index(0o644)] = 0o4755

    push(registry, filled)
    lie(filled, registry, lambda path: tamper(path, setuid), tmp_path)
    client = Client(tmp_path, remote_of(registry))
    assert client.fetch() is None
    assert len(client.told.warnings) == 1


def test_a_pack_that_proves_nothing_is_not_taken(registry, filled, tmp_path):
    push(registry, filled)
    lie(filled, registry, drop_residue, tmp_path)
    client = Client(tmp_path, remote_of(registry))
    assert client.fetch() is None
    assert "residue" in client.told.warnings[0]


def test_packs_of_which_nobody_could_take_a_proof_are_not_pushed(registry, tmp_path, keys):
    """Those of 0.2, whose key names their format, and those of layers whose residue would be too large."""
    store = Store(tmp_path / "old")
    path = store.root / "packs" / KEY[:2] / KEY
    path.parent.mkdir(parents=True)
    make_pack(path, LAYER).close()
    drop_residue(path)
    path.chmod(0o644)
    assert push(registry, store).left_out == (KEY,)
    assert registry.count("PUT") == 0
    assert push(registry, store, sign_key=str(keys.secret)).uploaded == (KEY,)
    signed = remote_of(registry, signed=True, keys=(keys.public,))
    assert Client(tmp_path / "client", signed).fetch() == path.read_bytes()


def test_an_index_beyond_the_memory_for_entries_is_not_decoded(registry, filled, tmp_path):
    push(registry, filled)
    client = Client(tmp_path, remote_of(registry), limits=PATIENCE._replace(layer_listing_bytes=800))
    assert client.fetch() is None
    assert "layer-listing-bytes" in client.told.warnings[0]


@pytest.fixture
def keys(tmp_path):
    (tmp_path / "keys").mkdir()
    return pem_pair(tmp_path / "keys")


def test_a_signed_pack_is_believed_by_its_key(registry, filled, tmp_path, keys):
    push(registry, filled, sign_key=str(keys.secret))
    signed = remote_of(registry, signed=True, keys=(keys.public,))
    assert Client(tmp_path / "1", signed).fetch() == pack_in(filled)
    assert push(registry, filled).known == 1, "a push without a key keeps the signature"
    other = tmp_path / "other"
    other.mkdir()
    client = Client(tmp_path / "2", replace(signed, keys=(pem_pair(other).public,)))
    assert client.fetch() is None
    assert "not signed by a trusted key" in client.told.warnings[0]


def test_where_signatures_count_a_pack_without_one_is_a_miss(registry, filled, tmp_path, keys):
    push(registry, filled)
    client = Client(tmp_path, remote_of(registry, signed=True, keys=(keys.public,)))
    assert client.fetch() is None
    assert client.told.warnings == []
    assert registry.count("GET", digest_of(pack_in(filled))) == 0


def test_the_signature_of_another_pack_is_a_lie(registry, filled, tmp_path, keys):
    push(registry, filled, KEY, key_of(EVIL), sign_key=str(keys.secret))
    other = json.loads(registry.blobs[registry.serve_digest("site/packs", key_of(EVIL))])
    document = manifest_of(registry)
    for layers in (other["layers"], [document["layers"][0], other["layers"][1]]):
        put_manifest(registry, {**document, "layers": layers})
        client = Client(tmp_path, remote_of(registry, signed=True, keys=(keys.public,)))
        assert client.fetch() is None
        assert "about something else" in client.told.warnings[0]


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


@pytest.fixture
def web(filled):
    """The folder of the store on a web server."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(filled.root)))
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield SimpleNamespace(remote=RemoteSettings(f"http://127.0.0.1:{server.server_address[1]}/"), root=filled.root)
    server.shutdown()
    server.server_close()


def test_the_folder_of_a_store_on_a_web_server(web, filled, tmp_path):
    client = Client(tmp_path, web.remote)
    assert client.fetch() == pack_in(filled)
    other = Client(tmp_path / "2", web.remote)
    assert other.fetch(key_of(b"")) is None
    assert client.told.warnings + other.told.warnings == []


def test_signed_files_on_a_web_server(web, filled, tmp_path, keys):
    from sifmake.remote.pack_statement import sign_pack
    from sifmake.signing import Passphrase

    signed = replace(web.remote, signed=True, keys=(keys.public,))
    assert Client(tmp_path / "1", signed).fetch() is None
    sha256 = digest_of(pack_in(filled)).partition(":")[2]
    beside = web.root / "packs" / KEY[:2] / f"{KEY}.dsse"
    try:
        beside.write_bytes(sign_pack(KEY, sha256, str(keys.secret), Passphrase()))
        assert Client(tmp_path / "2", signed).fetch() == pack_in(filled)
    finally:
        beside.unlink()


@pytest.mark.parametrize("status", [403, 404, 410])
def test_object_stores_say_in_several_ways_that_there_is_nothing(registry, tmp_path, status):
    registry.on("GET", "/packs/", Answer(status))
    client = Client(tmp_path, RemoteSettings(f"http://{registry.host}/x"))
    assert client.fetch() is None
    assert client.told.warnings == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(500),
        Answer(200, b"x" * 500),
        Answer(200, b"x", unsized=True),
        Answer(302, headers={"Location": "ftp://x/"}),
    ],
)
def test_a_web_server_that_fails_is_left_alone(registry, tmp_path, answer):
    registry.on("GET", "/packs/", answer)
    client = Client(tmp_path, RemoteSettings(f"http://{registry.host}/x"))
    assert client.fetch() is None
    assert len(client.told.warnings) == 1


def test_plain_http_only_where_it_is_set(tmp_path):
    with pytest.raises(ConfigError, match="by https only"):
        Client(tmp_path, RemoteSettings("http://packs.example/x")).fetch()


def test_what_is_not_a_store_is_not_filled(registry, filled):
    """Automatic uploads are for packs that were made here, where it is set, and never for pull requests."""
    told = Messages()
    packs = [
        RemotePacks([remote_of(registry, push=push)], filled, settings(progress=told), {}) for push in (False, True)
    ]
    packs[0].push([KEY])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GITHUB_EVENT_NAME", "pull_request")
        packs[1].push([KEY])
    assert registry.log == []
    packs[1].push([KEY])
    assert registry.has_tag("site/packs", KEY)
    registry.on("GET", "/manifests/", error(403, "DENIED"))
    packs[1].push([key_of(EVIL)])
    assert len(told.warnings) == 1


class StoppedError(Exception):
    """What a task raises after an interrupt."""


def test_an_interrupt_ends_the_proof_of_a_pack(registry, filled, tmp_path):
    """The transfer of a large pack takes seconds, and so does its proof."""
    push(registry, filled)
    size = len(pack_in(filled))

    class Stopping(Messages):
        """Stops with the first advance after all bytes have arrived."""

        arrived = 0

        def task(self, *_):
            return self

        def advance(self, amount):
            if self.arrived == size:
                raise StoppedError
            self.arrived += amount

    store = Store(tmp_path / "own")
    packs = RemotePacks([remote_of(registry)], store, settings(limits=PATIENCE, progress=Silent()), {})
    with pytest.raises(StoppedError):
        packs.fetch(KEY, Transfer(len(LAYER), Stopping(), lambda reader, _: reader))
    assert not list(store.root.rglob("*-gzip*"))
