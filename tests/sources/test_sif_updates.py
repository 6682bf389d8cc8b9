"""Updates of SIF files in a registry move only what changed; whatever goes wrong costs one complete transfer."""

from __future__ import annotations

import json
import os
import threading
import time
from dataclasses import dataclass, replace

import pytest

from sifmake.errors import RegistryError
from sifmake.oci import digest_bytes
from sifmake.reference import parse_reference
from sifmake.registry import HostSettings
from sifmake.sources import open_sif_source, oras_update, sif_update
from sifmake.sources.oras import push_sif
from sifmake.sources.recipe import HEADER, RECIPE, ROW, make_recipe, parse_recipe
from sifmake.sources.recipe_cuts import cut_sif
from support.messages import Messages
from support.pulling import settings
from support.registry import Answer, FakeRegistry, TokenAuth, Uploads, error
from support.sif_versions import CHANGED, sif_version

OLD, NEW = sif_version(), sif_version(newer=True)
BLOB = digest_bytes(NEW)
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"


@dataclass
class Result:
    """What a fetch did: requests for the file's blob, bytes of it that were sent, messages."""

    parts: int
    wholes: int
    moved: int
    listener: Messages


class Rig:
    """A registry to which the new version was pushed, and a folder with the old one."""

    def __init__(self, registry: FakeRegistry, folder) -> None:
        self.registry = registry
        self.uploads = Uploads(registry)
        self.folder = folder
        self.target = folder / "x.sif"
        self.target.write_bytes(OLD)
        (folder / "new.sif").write_bytes(NEW)
        self.reference = parse_reference(f"{registry.host}/org/tool:1")

    def push(self, **options) -> Messages:
        listener = Messages()
        known = {name: options.pop(name) for name in ("registries", "limits") if name in options}
        push_sif(self.folder / "new.sif", self.reference, settings(progress=listener, **known), **options)
        return listener

    def fetch(self, **changes) -> Result:
        self.registry.log.clear()
        listener = Messages()
        older = (lambda: None, self.open_old)
        uri = f"oras://{self.reference.familiar}"
        source = open_sif_source(uri, settings(**{"progress": listener, "older": older, **changes}))
        try:
            assert source.fetch(self.folder / "out.sif") == BLOB
        finally:
            source.close()
        assert (self.folder / "out.sif").read_bytes() == NEW
        assert self.target.read_bytes() == OLD
        assert sorted(path.name for path in self.folder.iterdir()) == ["new.sif", "out.sif", "x.sif"]
        asked = [request.headers.get("range", "") for request in self.registry.asked("GET", BLOB)]
        ranges = [tuple(map(int, text[6:].split("-"))) for text in asked if text]
        moved = sum(end - start + 1 for start, end in ranges)
        return Result(len(ranges), len(asked) - len(ranges), moved, listener)

    def open_old(self) -> int:
        return os.open(self.target, os.O_RDONLY)

    def recipe_digest(self) -> str:
        """Return the digest of the recipe's blob."""
        return next(d for d, data in self.registry.blobs.data.items() if data.startswith(b"SIFRECIP"))

    def replace_recipe(self, data: bytes) -> None:
        """Let the registry have another recipe for the file, with right digests of its own."""
        blob = self.registry.blobs.put(data, RECIPE)
        manifest = json.loads(self.registry.blobs[self.recipe_manifest()])
        manifest["layers"] = [blob]
        self.set_manifest(manifest)

    def recipe_manifest(self) -> str:
        return next(
            d for d, data in self.registry.blobs.data.items() if b'"artifactType"' in data and b'"subject"' in data
        )

    def set_manifest(self, manifest: dict) -> None:
        stored = self.registry.blobs.put(json.dumps(manifest).encode(), manifest["mediaType"])
        entry = {**stored, "artifactType": RECIPE}
        self.set_index({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})

    def set_index(self, index: dict) -> None:
        subject = self.registry.serve_digest("org/tool", "1")
        stored = self.registry.blobs.put(json.dumps(index).encode(), INDEX)
        self.registry.tag("org/tool", subject.replace(":", "-"), stored)


@pytest.fixture
def rig(tmp_path):
    with FakeRegistry() as registry:
        yield Rig(registry, tmp_path)


def is_whole(result: Result) -> bool:
    return result.wholes == 1


def test_only_what_changed_is_moved(rig):
    assert rig.push().warnings == []
    result = rig.fetch()
    assert (result.wholes, result.listener.warnings) == (0, [])
    assert CHANGED < result.moved < CHANGED + 400_000
    assert result.parts <= 4
    assert any(f"{result.moved} of {len(NEW)} bytes downloaded" in text for text in result.listener.infos)
    assert len(rig.registry.log) == result.parts + 5, "manifest, referrers, fallback tag, recipe's manifest, recipe"


def test_the_artifact_of_the_file_stays_as_it_was(rig):
    rig.push(recipe=False)
    before = rig.registry.blobs[rig.registry.serve_digest("org/tool", "1")]
    stored = set(rig.registry.blobs.data)
    rig.push()
    assert rig.registry.blobs[rig.registry.serve_digest("org/tool", "1")] == before
    assert len(json.loads(before)["layers"]) == 1
    assert len(set(rig.registry.blobs.data) - stored) == 3, "recipe, its manifest, the index of the fallback tag"


def test_pushing_again_stores_nothing_new(rig):
    rig.push()
    stored = dict(rig.registry.blobs.data)
    rig.registry.log.clear()
    rig.push()
    assert rig.registry.blobs.data == stored
    assert rig.registry.count("PUT", "/blobs/") == 0


def test_other_referrers_of_the_fallback_tag_are_kept(rig):
    rig.push(recipe=False)
    other = {"mediaType": MANIFEST, "digest": digest_bytes(b"x"), "size": 1}
    rig.set_index({"schemaVersion": 2, "mediaType": INDEX, "manifests": [{**other, "artifactType": "text/spdx"}]})
    rig.push()
    subject = rig.registry.serve_digest("org/tool", "1")
    index = json.loads(rig.registry.blobs[rig.registry.serve_digest("org/tool", subject.replace(":", "-"))])
    assert [item["artifactType"] for item in index["manifests"]] == ["text/spdx", RECIPE]
    assert rig.fetch().wholes == 0


def test_a_registry_that_lists_referrers_needs_no_fallback_tag(rig):
    def listed(request):
        given = rig.uploads.manifest(request)
        return replace(given, headers={**given.headers, "OCI-Subject": "sha256:x"})

    rig.registry.on("PUT", "/manifests/sha256:", listed, first=True)
    rig.push()
    subject = rig.registry.serve_digest("org/tool", "1")
    assert not rig.registry.has_tag("org/tool", subject.replace(":", "-"))
    digest = rig.recipe_manifest()
    entry = {"mediaType": MANIFEST, "digest": digest, "size": len(rig.registry.blobs[digest]), "artifactType": RECIPE}
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}
    rig.registry.on("GET", f"/referrers/{subject}", Answer(200, json.dumps(index).encode(), {"Content-Type": INDEX}))
    assert rig.fetch().wholes == 0
    (asked,) = rig.registry.asked("GET", "/referrers/")
    assert asked.path.endswith(f"/referrers/{subject}?artifactType=application%2Fvnd.sifmake.recipe.v1")


@pytest.mark.parametrize("status", [400, 401, 403, 405, 413])
def test_a_registry_that_refuses_the_recipe_costs_a_warning(rig, status):
    rig.registry.on("PUT", "/manifests/sha256:", error(status, "NO"), first=True)
    (warning,) = rig.push().warnings
    assert "the file is in the registry, but its recipe for small updates is not: " in warning
    assert "use --no-recipe" in warning
    assert is_whole(rig.fetch())


def test_it_can_be_turned_off(rig):
    off = {rig.registry.host: HostSettings(plain_http=True, sif_recipes=False)}
    rig.push(registries=off)
    rig.push(recipe=False)
    assert not any(data.startswith(b"SIFRECIP") for data in rig.registry.blobs.data.values())
    rig.push()
    assert is_whole(rig.fetch(registries=off))
    assert len(rig.registry.log) == 2, "the manifest and the file"


def test_without_an_older_file_nothing_more_is_asked(rig):
    rig.push()
    assert is_whole(rig.fetch(older=()))
    assert len(rig.registry.log) == 2
    assert is_whole(rig.fetch(older=(lambda: None,)))
    assert len(rig.registry.log) == 2


def without_ranges(request):
    return Answer(200, NEW)


def wrong_range(request):
    start, end = map(int, request.headers["range"][6:].split("-")) if "range" in request.headers else (0, len(NEW) - 1)
    if "range" not in request.headers:
        return None
    return Answer(206, NEW[start + 1 : end + 2], {"Content-Range": f"bytes {start + 1}-{end + 1}/{len(NEW)}"})


def other_total(request):
    answer = request.served()
    return Answer(206, answer.body, {"Content-Range": answer.headers["Content-Range"].replace(str(len(NEW)), "99")})


def no_content_range(request):
    return Answer(206, request.served().body)


def too_long(request):
    return request.served(body=request.served().body + b"x")


def not_satisfiable(request):
    return error(416, "RANGE")


BAD_RANGES = {
    "ignored": without_ranges,
    "another part": wrong_range,
    "another total": other_total,
    "no Content-Range": no_content_range,
    "too long": too_long,
    "short": lambda request: request.served(body=request.served().body[:-1]),
    "not satisfiable": not_satisfiable,
    "refused": lambda _: error(400, "BAD"),
    "multipart": lambda _: Answer(206, b"--x", {"Content-Type": "multipart/byteranges; boundary=x"}),
}


@pytest.mark.parametrize("name", BAD_RANGES)
def test_a_server_that_does_not_send_parts_gets_one_whole_request(rig, name):
    rig.push()
    rig.registry.on("GET", BLOB, lambda r: BAD_RANGES[name](r) if "range" in r.headers else None)
    result = rig.fetch()
    asked = rig.registry.asked("GET", BLOB)
    assert len(asked) == (1 if name == "ignored" else 2), "an answer with the complete file is taken as it is"
    assert result.listener.warnings == []
    assert any("the complete file will be downloaded" in text for text in result.listener.infos)


@pytest.mark.parametrize("cut", [0, 1000, 100_000])
def test_a_part_that_breaks_off_goes_on(rig, cut):
    rig.push()
    rig.registry.on("GET", BLOB, lambda request: request.served(cut=cut), times=1)
    result = rig.fetch()
    assert result.wholes == 0
    first, second = (request.headers["range"] for request in rig.registry.asked("GET", BLOB)[:2])
    assert int(second[6:].split("-")[0]) >= int(first[6:].split("-")[0])


@pytest.mark.parametrize("change", [{"unsized": True}, {"unsized": True, "cut": 500}])
def test_a_part_of_unknown_length_is_taken_and_goes_on_if_it_is_short(rig, change):
    rig.push()
    rig.registry.on("GET", BLOB, lambda request: request.served(**change), times=1)
    result = rig.fetch()
    assert (result.wholes, result.listener.warnings) == (0, [])


def test_parts_that_always_break_off_are_given_up(rig):
    rig.push()
    rig.registry.on("GET", BLOB, lambda r: r.served(cut=10) if "range" in r.headers else None)
    result = rig.fetch()
    assert (result.wholes, result.parts) == (1, 5)


def wrong_bytes(request):
    """Change every part but the first, which is checked as soon as it comes."""
    answer, start = request.served(), request.headers.get("range", "bytes=0-")[6:].split("-")[0]
    return None if start == "0" else replace(answer, body=bytes(len(answer.body)))


def test_wrong_bytes_in_a_part_cost_one_whole_transfer(rig):
    rig.push()
    rig.registry.on("GET", BLOB, wrong_bytes)
    result = rig.fetch()
    assert is_whole(result)
    (warning,) = result.listener.warnings
    assert "the update from an older version failed (digest mismatch" in warning


def lying(rig, change):
    """Replace digests and sizes in the recipe so that it stays well-formed."""
    data = rig.registry.blobs[rig.recipe_digest()]
    recipe = parse_recipe(data, 1 << 20)
    rows = [[size, digest] for _, size, digest in recipe]
    change(rows)
    return data[: HEADER.size] + b"".join(ROW.pack(size, digest) for size, digest in rows)


def swap(rows):
    rows[10], rows[12] = rows[12], rows[10]


def repeat(rows):
    for row in rows[5:]:
        row[1] = rows[4][1]


def shift(rows):
    rows[5][0] += 1000
    rows[6][0] -= 1000


@pytest.mark.parametrize("change", [swap, repeat, shift])
def test_a_lying_recipe_costs_a_transfer_and_nothing_else(rig, change):
    rig.push()
    rig.replace_recipe(lying(rig, change))
    result = rig.fetch()
    assert result.wholes <= 1
    assert result.moved <= len(NEW)


def test_a_recipe_that_claims_that_nothing_changed(rig):
    rig.push()
    with rig.target.open("rb") as file:
        recipe = make_recipe(0, cut_sif(file.fileno(), 0), digest_bytes(OLD), 1 << 20)
    rig.replace_recipe(recipe.encode())
    result = rig.fetch()
    assert is_whole(result)
    assert any("the recipe belongs to another file" in text for text in result.listener.infos)


def drop_layers(manifest):
    manifest["layers"] = []


def another_subject(manifest):
    manifest["subject"]["digest"] = digest_bytes(b"another")


def no_subject(manifest):
    del manifest["subject"]


def another_type(manifest):
    manifest["layers"][0]["mediaType"] = "text/plain"


def absent(manifest):
    manifest["layers"][0]["digest"] = digest_bytes(b"absent")


def wrong_size(manifest):
    manifest["layers"][0]["size"] += 1


def huge(manifest):
    manifest["layers"][0]["size"] = 1 << 50


def listed_badly(manifest):
    manifest["layers"] = {"a": 1}


@pytest.mark.parametrize(
    "change", [drop_layers, another_subject, no_subject, another_type, absent, wrong_size, huge, listed_badly]
)
def test_an_artifact_that_is_not_the_files_recipe_is_not_used(rig, change):
    rig.push()
    manifest = json.loads(rig.registry.blobs[rig.recipe_manifest()])
    change(manifest)
    rig.set_manifest(manifest)
    result = rig.fetch()
    assert is_whole(result)
    assert result.parts == 0
    assert any("the complete file will be downloaded" in text for text in result.listener.infos)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(200, b"<html>"),
        Answer(200, b"[" * 100_000),
        Answer(200, b'{"manifests":[{"digest":"x"}]}'),
        Answer(200, b'{"manifests":7}'),
        Answer(500),
        Answer(503, headers={"Retry-After": "300"}),
        Answer(200, b"{", cut=0),
    ],
)
def test_a_strange_list_of_referrers_is_passed_over_at_once(rig, answer):
    rig.push(recipe=False)
    rig.registry.on("GET", "/referrers/", answer)
    rig.registry.on("GET", "/manifests/sha256-", answer)
    result = rig.fetch()
    assert is_whole(result)
    assert rig.registry.count("GET", "/referrers/") == rig.registry.count("GET", "/manifests/sha256-") == 1


def test_the_older_file_is_read_while_the_recipe_is_on_its_way(rig, monkeypatch):
    rig.push()
    found = threading.Event()
    real = oras_update.find_ranges

    def find(*given):
        ranges = real(*given)
        found.set()
        return ranges

    monkeypatch.setattr(oras_update, "find_ranges", find)
    rig.registry.on("GET", "/referrers/", lambda request: request.served(before=lambda: found.wait(20)))
    monkeypatch.setattr(sif_update, "find_ranges", lambda *_: pytest.fail("it was cut again"))
    assert not is_whole(rig.fetch())
    assert found.is_set()


@pytest.mark.parametrize("old", [b"", b"text" * 100_000, OLD[:100_000], bytes(2_000_000)])
def test_an_older_file_that_is_not_a_sif_file_does_not_help_and_does_no_harm(rig, old):
    rig.push()
    target = rig.folder / "x.sif"
    target.write_bytes(old)
    listener = Messages()
    source = open_sif_source(f"oras://{rig.reference.familiar}", settings(progress=listener, older=(rig.open_old,)))
    assert source.fetch(rig.folder / "out.sif") == BLOB
    source.close()
    assert (target.read_bytes(), listener.warnings) == (old, [])


def test_an_older_file_that_shrinks_meanwhile(rig):
    rig.push()

    def shrink(request):
        rig.target.write_bytes(OLD[:5000])

    rig.registry.on("GET", BLOB, shrink, times=1)
    listener = Messages()
    source = open_sif_source(f"oras://{rig.reference.familiar}", settings(progress=listener, older=(rig.open_old,)))
    assert source.fetch(rig.folder / "out.sif") == BLOB
    source.close()
    assert "was truncated while" in listener.warnings[0]


def test_the_whole_file_is_fetched_where_most_of_it_changed(rig):
    rig.push()
    rig.target.write_bytes(sif_version(seed=8))
    source = open_sif_source(f"oras://{rig.reference.familiar}", settings(older=(rig.open_old,)))
    rig.registry.log.clear()
    assert source.fetch(rig.folder / "out.sif") == BLOB
    source.close()
    assert [request.headers.get("range") for request in rig.registry.asked("GET", BLOB)] == [None]


def test_a_file_that_is_not_there_any_more_is_the_error_of_the_whole_file(rig):
    rig.push()
    rig.registry.on("GET", BLOB, error(404, "BLOB_UNKNOWN"))
    source = open_sif_source(f"oras://{rig.reference.familiar}", settings(older=(rig.open_old,)))
    with pytest.raises(RegistryError, match="no such blob"):
        source.fetch(rig.folder / "out.sif")
    source.close()
    assert sorted(path.name for path in rig.folder.iterdir()) == ["new.sif", "x.sif"]


def test_redirects_to_another_host_get_the_range_and_no_token(rig):
    rig.push()
    with FakeRegistry() as cdn:
        cdn.blobs = rig.registry.blobs
        auth = TokenAuth(rig.registry)
        target = f"http://{cdn.host}/v2/cdn/blobs/{BLOB}?signature=x"
        rig.registry.on("GET", f"/org/tool/blobs/{BLOB}", lambda r: redirect(r, auth, target), first=True)
        assert rig.fetch().wholes == 0
        assert auth.issued
        asked = cdn.asked("GET", BLOB)
        assert asked
        assert all("range" in request.headers and "authorization" not in request.headers for request in asked)


def redirect(request, auth, target):
    token = request.headers.get("authorization", "").removeprefix("Bearer ")
    return Answer(307, headers={"Location": target}) if token in auth.issued else None


@pytest.mark.parametrize("has", ["everything", "no recipe"])
def test_a_mirror_sends_what_it_has(rig, has):
    """A mirror that knows nothing of referrers is asked once, and neither blamed nor passed over for it."""
    rig.push()
    with FakeRegistry() as mirror:
        mirror.blobs = rig.registry.blobs
        subject = rig.registry.serve_digest("org/tool", "1")
        if has == "everything":
            fallback = subject.replace(":", "-")
            digest = rig.registry.serve_digest("org/tool", fallback)
            mirror.tag("org/tool", fallback, {"digest": digest})
        mirror.tag("org/tool", "1", {"digest": subject})
        plain = HostSettings(plain_http=True)
        hosts = {rig.registry.host: plain._replace(mirrors=(mirror.host,)), mirror.host: plain}
        result = rig.fetch(registries=hosts)
        assert result.listener.warnings == []
        if has == "everything":
            assert (result.parts, result.wholes) == (0, 0)
            assert all("range" in request.headers for request in mirror.asked("GET", BLOB))
        if has == "no recipe":
            assert [request.headers.get("range") for request in mirror.asked("GET", BLOB)] == [None]


class Crowd:
    """Lets requests for parts take a moment, and counts how many there are at the same time."""

    def __init__(self, ignored_from: int = 1000) -> None:
        self.most = self._now = self._number = 0
        self._ignored_from = ignored_from
        self._lock = threading.Lock()

    def __call__(self, request):
        if "range" not in request.headers:
            return None
        with self._lock:
            self._now += 1
            self._number += 1
            self.most = max(self.most, self._now)
            ignored = self._number > self._ignored_from
        time.sleep(0.02)
        with self._lock:
            self._now -= 1
        return Answer(200, SCATTERED) if ignored else request.served()


def scattered(data: bytes) -> bytes:
    """Change a byte each 200 kB."""
    changed = bytearray(data)
    for place in range(300_000, len(data), 200_000):
        changed[place] ^= 1
    return bytes(changed)


SCATTERED = scattered(OLD)


@pytest.mark.parametrize("ignored_from", [1000, 1, 5])
def test_small_parts_are_on_their_way_at_the_same_time_but_for_the_first(rig, ignored_from):
    rig.registry.on("GET", digest_bytes(SCATTERED), crowd := Crowd(ignored_from), first=True)
    (rig.folder / "new.sif").write_bytes(SCATTERED)
    rig.push()
    listener = Messages()
    source = open_sif_source(f"oras://{rig.reference.familiar}", settings(progress=listener, older=(rig.open_old,)))
    rig.registry.log.clear()
    assert source.fetch(rig.folder / "out.sif") == digest_bytes(SCATTERED)
    source.close()
    asked = rig.registry.asked("GET", digest_bytes(SCATTERED))
    if ignored_from == 1000:
        assert len(asked) > 10
        assert 1 < crowd.most <= 4
    else:
        assert len(asked) <= ignored_from + 4 + 1, "those under way, and the complete file"
    assert listener.warnings == []
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("part")]


def test_an_older_file_that_is_much_larger_is_not_read(rig):
    rig.push()
    with rig.target.open("ab") as file:
        file.truncate(5 * len(NEW))
    source = open_sif_source(f"oras://{rig.reference.familiar}", settings(older=(rig.open_old,)))
    rig.registry.log.clear()
    assert source.fetch(rig.folder / "out.sif") == BLOB
    source.close()
    assert [request.headers.get("range") for request in rig.registry.asked("GET", BLOB)] == [None]
