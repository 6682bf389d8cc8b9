"""Rows of the user reports about transfers (a4, a22 to a27) on the registry that misbehaves."""

from __future__ import annotations

import base64
import gzip
import random
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from sifmake.cli.main import main
from sifmake.errors import IntegrityError, RegistryError
from sifmake.registry import HostSettings
from support.layers import file, tar
from support.proxy import Proxy
from support.pulling import FAST, HASTY, Memory, pull
from support.registry import Answer, FakeRegistry, TokenAuth, error

SOON = 60
"""Seconds; ten times that, or for ever, if nothing broke it off."""
RAW = random.Random(7).randbytes(300_000)


@pytest.fixture
def registry():
    with FakeRegistry() as registry:
        yield registry


@pytest.fixture
def image(registry):
    image = registry.blobs.image([RAW])
    registry.tag("org/image", "1", image)
    return image


@pytest.fixture
def layer(registry, image):
    return registry.blobs.document(image)["layers"][0]["digest"]


def pull_from(registry, **changes):
    return pull(f"docker://{registry.host}/org/image:1", **changes)


def met(registry):
    """Return a memory of an earlier pull, so that a HEAD comes first."""
    return Memory(f"{registry.host}/org/image:1")


def gets(registry, digest):
    return registry.asked("GET", digest)


@pytest.mark.parametrize(
    "header",
    ["1", lambda: format_datetime(datetime.now(UTC) + timedelta(seconds=1.5), usegmt=True), None],
    ids=["seconds", "date", "none"],
)
@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a4_too_many_requests_are_made_again_later(registry, image, header, method):
    text = header() if callable(header) else header
    headers = {"Retry-After": text} if text else {}
    registry.on(method, "/manifests/1", error(429, "TOOMANYREQUESTS", **headers), times=2)
    began = time.monotonic()
    pull_from(registry, known=met(registry) if method == "HEAD" else None)
    seconds = time.monotonic() - began
    assert registry.count(method, "/manifests/1") == 3
    assert seconds > (0.4 if text else 0)


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_a4_a_long_wait_is_refused_with_the_time(registry, image, method):
    registry.on(method, "/manifests/1", error(429, "TOOMANYREQUESTS", **{"Retry-After": "21600"}))
    with pytest.raises(RegistryError, match=r"refuses more requests .*try again in 6:00:00"):
        pull_from(registry, known=met(registry) if method == "HEAD" else None)
    assert registry.count(method, "/manifests/1") == 1


def test_a22_a_dead_proxy_is_not_asked_for_this_machine(registry, image):
    environ = {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "NO_PROXY": "127.0.0.1"}
    assert pull_from(registry, environ=environ).image.digest == image["digest"]


PLAIN = {"registry.example": HostSettings(plain_http=True)}


def test_a22_a_proxy_leads_to_hosts_that_are_elsewhere(registry, image):
    with Proxy(registry.host) as proxy:
        environ = {"HTTP_PROXY": proxy.url.replace("//", "//user:word@")}
        pulled = pull("docker://registry.example/org/image:1", registries=PLAIN, environ=environ)
    assert pulled.image.digest == image["digest"]
    assert len(proxy.asked) == 3, "manifest, config and layer"
    assert all(line.startswith("GET http://registry.example/v2/org/image/") for line in proxy.asked)
    assert {*proxy.credentials} == {"basic " + base64.b64encode(b"user:word").decode().lower()}
    assert not any("proxy-authorization" in request.headers for request in registry.log)


def test_a22_a_dead_proxy_is_named_without_its_password():
    environ = {"HTTP_PROXY": "http://user:word@127.0.0.1:9"}
    words = r"proxy http://127.0.0.1:9 does not lead to registry.example .*NO_PROXY"
    with pytest.raises(RegistryError, match=words) as caught:
        pull("docker://registry.example/org/image:1", registries=PLAIN, environ=environ)
    assert "word" not in str(caught.value)


def test_a37_foreign_layers_without_tls_are_for_this_machine_only(registry, image):
    with FakeRegistry() as elsewhere, Proxy(registry.host) as proxy:
        foreign = elsewhere.blobs.put(b"foreign", "application/vnd.oci.image.layer.nondistributable.v1.tar")
        urls = [f"http://{elsewhere.host}/v2/a/blobs/{foreign['digest']}"]
        descriptor = registry.blobs.image([b"foreign"], layer_descriptors=[{**foreign, "urls": urls}])
        registry.tag("org/image", "2", descriptor)
        with pytest.raises(RegistryError, match="no such blob"):
            pull("docker://registry.example/org/image:2", registries=PLAIN, environ={"HTTP_PROXY": proxy.url})
        assert elsewhere.log == []


def test_a23_a_broken_transfer_is_made_again(registry, image, layer):
    registry.on("GET", layer, lambda request: request.served(cut=150_000), times=1)
    pull_from(registry)
    assert len(gets(registry, layer)) == 2


def test_a24_a_broken_transfer_goes_on_where_it_broke(registry, image, layer):
    registry.on("GET", layer, lambda request: request.served(cut=150_000), times=1)
    pull_from(registry)
    second = gets(registry, layer)[1]
    assert second.headers["range"] == "bytes=150000-"
    assert second.headers["if-range"] == f'"{layer}"'


def test_a24_a_server_that_ignores_ranges(registry, image, layer):
    whole = Answer(200, registry.blobs[layer])
    registry.on("GET", layer, lambda request: request.served(cut=150_000), times=1)
    registry.on("GET", layer, whole)
    pull_from(registry)
    assert len(gets(registry, layer)) == 2


def test_a24_a_server_that_refuses_ranges(registry, image, layer):
    registry.on("GET", layer, lambda request: request.served(cut=150_000), times=1)
    registry.on("GET", layer, lambda request: error(416, "RANGE") if "range" in request.headers else None)
    pull_from(registry)
    assert [("range" in request.headers) for request in gets(registry, layer)] == [False, True, False]


def test_a24_a_server_that_answers_another_range(registry, image, layer):
    data = registry.blobs[layer]
    wrong = Answer(206, data, {"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"})
    registry.on("GET", layer, lambda request: request.served(cut=150_000), times=1)
    registry.on("GET", layer, lambda request: wrong if "range" in request.headers else None)
    pull_from(registry)


def test_a24_a_blob_whose_etag_changed_comes_whole(registry, image, layer):
    changed = Answer(200, registry.blobs[layer], {"ETag": '"other"'})
    registry.on("GET", layer, lambda request: request.served(cut=150_000), times=1)
    registry.on("GET", layer, lambda request: changed if request.headers.get("if-range") != '"other"' else None)
    pull_from(registry)
    assert len(gets(registry, layer)) == 2


def test_a24_a_weak_etag_is_not_a_condition(registry, image, layer):
    registry.on("GET", layer, lambda r: r.served(cut=150_000, headers={"ETag": 'W/"x"'}), times=1)
    pull_from(registry)
    assert "if-range" not in gets(registry, layer)[1].headers


def test_a24_progress_counts_as_a_fresh_start(registry, image, layer):
    registry.on("GET", layer, lambda request: request.served(cut=70_000), times=4)
    pull_from(registry, retry=FAST._replace(attempts=2))
    assert len(gets(registry, layer)) == 5


def test_a_transfer_that_breaks_for_ever_ends(registry, image, layer):
    registry.on("GET", layer, lambda request: request.served(cut=0))
    with pytest.raises(RegistryError, match=r"was interrupted 5 times, lastly after 0 of \d+ bytes"):
        pull_from(registry)


def test_a25_a_changed_byte_is_found_and_nothing_kept(registry, tmp_path, monkeypatch, capsys):
    raw = tar(file("a", RAW))
    image = registry.blobs.image([raw], compression="none")
    registry.tag("org/image", "1", image)
    layer = registry.blobs.document(image)["layers"][0]["digest"]
    at = raw.index(RAW) + 1000
    registry.on("GET", layer, Answer(200, raw[:at] + bytes([raw[at] ^ 1]) + raw[at + 1 :]))
    monkeypatch.setenv("SIFMAKE_CACHE", str(tmp_path / "store"))
    monkeypatch.chdir(tmp_path)
    assert main(["-q", "pull", "x.sif", f"docker://{registry.host}/org/image:1"]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert "blob has the wrong digest" in line
    assert layer in line
    assert not (tmp_path / "x.sif").exists()
    assert not [path for path in (tmp_path / "store/packs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("what", ["manifest", "config"])
def test_a25_a_changed_document_is_refused(registry, image, what):
    digest = image["digest"] if what == "manifest" else registry.blobs.document(image)["config"]["digest"]
    registry.on("GET", digest, Answer(200, registry.blobs[digest].replace(b"amd64", b"amd65").replace(b"{", b"[", 1)))
    with pytest.raises(IntegrityError, match="digest mismatch"):
        pull_from(registry, known=met(registry))


def test_a26_a_short_body_with_its_own_length_is_refused(registry, image, layer):
    registry.on("GET", layer, Answer(200, registry.blobs[layer][:1000]))
    with pytest.raises(IntegrityError, match=r"offers 1000 bytes, the manifest says \d+"):
        pull_from(registry)


def test_a_body_of_unknown_length_is_read_to_its_size(registry, image, layer):
    registry.on("GET", layer, Answer(200, registry.blobs[layer], unsized=True))
    assert pull_from(registry).blobs == [registry.blobs[layer]]


def test_a_body_of_unknown_length_that_goes_on_is_refused(registry, image, layer):
    registry.on("GET", layer, Answer(200, registry.blobs[layer] + b"x" * 10_000, unsized=True))
    with pytest.raises(IntegrityError, match="sends more than"):
        pull_from(registry)


def test_a27_a_content_encoding_on_a_blob_changes_nothing(registry, image, layer):
    registry.on("GET", layer, Answer(200, registry.blobs[layer], {"Content-Encoding": "gzip"}))
    assert gzip.decompress(pull_from(registry).blobs[0]) == RAW
    assert gets(registry, layer)[0].headers["accept-encoding"] == "identity"


def test_a_stalled_transfer_is_broken_off(registry, image, layer):
    registry.on("GET", layer, lambda request: request.served(cut=150_000, stall=600), times=1)
    began = time.monotonic()
    pull_from(registry, retry=HASTY)
    assert time.monotonic() - began < SOON


def test_a_trickling_transfer_is_broken_off(registry, image, layer):
    registry.on("GET", layer, lambda request: request.served(trickle=0.01), times=1)
    began = time.monotonic()
    pull_from(registry, retry=HASTY)
    assert time.monotonic() - began < SOON
    assert len(gets(registry, layer)) == 2


BREAKS = [{"trickle": 0.3}, {"cut": 3}, {"cut": 3, "stall": 600}]


@pytest.mark.parametrize("change", BREAKS, ids=["trickles", "cut", "stalls"])
def test_a_manifest_that_breaks_off_or_trickles_is_asked_for_again(registry, image, change):
    """A byte now and then prevents the time-out: at one a minute a manifest would take a night."""
    registry.on("GET", "/manifests/1", lambda request: request.served(**change), times=1)
    began = time.monotonic()
    pull_from(registry, retry=HASTY)
    assert time.monotonic() - began < SOON
    assert registry.count("GET", "/manifests/1") == 2


@pytest.mark.parametrize("change", BREAKS, ids=["trickles", "cut", "stalls"])
def test_a_token_that_breaks_off_or_trickles_is_asked_for_again(registry, image, change):
    token = Answer(200, b'{"token": "' + b"x" * 1000 + b'"}')
    registry.on("GET", "/token", replace(token, **change), times=2)
    auth = TokenAuth(registry, uses=2)
    pull_from(registry, retry=HASTY)
    assert registry.count("GET", "/token") == 2 + len(auth.issued)


def test_a_proxy_that_wants_a_password_is_told_from_the_registry(registry):
    for method in ("GET", "HEAD"):
        registry.on(method, "/v2/", Answer(407))
    with (
        Proxy(registry.host) as proxy,
        pytest.raises(RegistryError, match="the proxy requires a user and a password; add"),
    ):
        pull("docker://registry.example/org/image:1", registries=PLAIN, environ={"HTTP_PROXY": proxy.url})


@pytest.mark.parametrize("status", [500, 502, 503, 504, 408])
def test_a_server_in_trouble_is_asked_again(registry, image, layer, status):
    registry.on("GET", layer, Answer(status), times=2)
    pull_from(registry)
    assert len(gets(registry, layer)) == 3


def test_a_missing_layer_is_named(registry, image, layer):
    del registry.blobs.data[layer]
    with pytest.raises(RegistryError, match=r"no such blob .*BLOB_UNKNOWN.*push the image again"):
        pull_from(registry)


def test_remaining_pulls_are_told_once(registry, image):
    quota = {"ratelimit-limit": "100;w=21600", "ratelimit-remaining": "76;w=21600"}
    registry.on("HEAD", "/manifests/", lambda r: r.served(headers={**r.served().headers, **quota}))
    registry.on("GET", "/manifests/", lambda r: r.served(headers={**r.served().headers, **quota}))
    assert pull_from(registry).messages.infos == [f"{registry.host}: 76 of 100 pulls left"]


def mirrored(registry, mirror):
    return {registry.host: HostSettings(mirrors=(mirror.host,))}


def test_a21_a_mirror_that_is_out_of_order_is_asked_once(registry, image):
    with FakeRegistry() as mirror:
        mirror.on("HEAD", "/v2/", Answer(503))
        mirror.on("GET", "/v2/", Answer(503))
        pulled = pull_from(registry, registries=mirrored(registry, mirror))
        assert len(mirror.log) == 2, "one try and one more"
    assert pulled.image.digest == image["digest"]
    assert len([text for text in pulled.messages.warnings if "skipping the mirror" in text]) == 1


def test_a21_a_mirror_that_lacks_a_layer_is_still_asked_for_the_others(registry):
    image = registry.blobs.image([RAW, b"second", b"third"])
    layer = registry.blobs.document(image)["layers"][0]["digest"]
    with FakeRegistry() as mirror:
        mirror.blobs.data = {digest: data for digest, data in registry.blobs.data.items() if digest != layer}
        mirror.tag("org/image", "1", image)
        pull_from(registry, registries=mirrored(registry, mirror))
        assert mirror.count("GET", "/blobs/") == 4, "config and three layers"
    assert [request.path for request in registry.log] == [f"/v2/org/image/blobs/{layer}"]


def test_a21_a_mirror_that_breaks_off_is_taken_over_in_the_middle(registry, image, layer):
    with FakeRegistry() as mirror:
        mirror.blobs = registry.blobs
        mirror.tag("org/image", "1", image)
        mirror.on("GET", layer, lambda request: request.served(cut=100_000), times=1)
        mirror.on("GET", layer, lambda request: request.served(cut=0))
        pull_from(registry, registries=mirrored(registry, mirror))
    (request,) = registry.log
    assert request.headers["range"] == "bytes=100000-"
