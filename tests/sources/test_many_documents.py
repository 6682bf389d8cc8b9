"""Images that are made of many or large documents, or of many layers: bounded memory, one line that names the limit."""

from __future__ import annotations

import hashlib
import json
import re
from functools import partial

import pytest

from sifmake.errors import SourceError
from sifmake.limits import DEFAULT_LIMITS, MIB
from sifmake.sources import open_source
from support.images import OCI_CONFIG, OCI_INDEX, OCI_LAYER, OCI_MANIFEST, digest_of, write_layout
from support.layers import file, tar
from support.measured import measured
from support.pulling import pull, settings
from support.registry import Answer, FakeRegistry

KNOWN = re.compile(r"(sha256:[0-9a-f]{64})")


@pytest.fixture
def registry():
    with FakeRegistry() as registry:
        yield registry


class Family:
    """An index of entries without a platform, whose documents are as large as they may be and made when asked for.

    Only the last one is for amd64.
    """

    def __init__(self, registry: FakeRegistry, count: int) -> None:
        self._makers = {}
        self.asked: list[str] = []
        self._layer = registry.blobs.put(tar(file("a", b"x")), OCI_LAYER)
        diff_id = self._layer["digest"]
        entries = []
        for number in range(count):
            architecture = "amd64" if number == count - 1 else "s390x"
            config = self._add(partial(_config, number, architecture, diff_id))
            manifest = self._add(partial(self._manifest, number, {"mediaType": OCI_CONFIG, **config}))
            entries.append({"mediaType": OCI_MANIFEST, **manifest})
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
        registry.tag("org/image", "1", registry.blobs.put(json.dumps(index).encode(), OCI_INDEX))
        registry.on("GET", "/v2/", self._serve)

    def _add(self, make):
        data = make()
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        self._makers[digest] = make
        return {"digest": digest, "size": len(data)}

    def _manifest(self, number, config):
        document = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": config, "layers": [self._layer]}
        return padded(document, 4 * MIB, number)

    def _serve(self, request):
        found = KNOWN.search(request.path)
        make = self._makers.get(found[1]) if found else None
        if make is None:
            return None
        self.asked.append(found[1])
        return Answer(200, make(), {"Docker-Content-Digest": found[1]})


def _config(number, architecture, diff_id):
    rootfs = {"type": "layers", "diff_ids": [diff_id]}
    return padded({"os": "linux", "architecture": architecture, "rootfs": rootfs}, 8 * MIB, number)


def padded(document, size, number):
    data = json.dumps({**document, "annotations": {"number": str(number)}, "x": ""}).encode()
    return data[:-2] + b"x" * (size - len(data)) + data[-2:]


def test_an_index_without_platforms_is_looked_through_in_little_memory(registry, tmp_path):
    family = Family(registry, 80)
    ran = measured("pull", "x.sif", f"docker://{registry.host}/org/image:1", "--arch", "amd64", cwd=tmp_path)
    assert ran.status == 0, ran.err
    assert ran.memory < 256 * MIB
    assert len(set(family.asked)) == 160
    assert len(family.asked) <= 162  # what is kept of them is not fetched again


def test_all_documents_of_an_image_have_one_bound(registry, tmp_path):
    Family(registry, 12)
    limits = DEFAULT_LIMITS._replace(documents_fetched=100 * MIB)
    with pytest.raises(SourceError, match=r"have more than 104857600 bytes together; .* raise documents-fetched"):
        pull(f"docker://{registry.host}/org/image:1", limits=limits)
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("limits: {documents-fetched: 10000000}\n")
    ran = measured("pull", "x.sif", f"docker://{registry.host}/org/image:1", cwd=tmp_path)
    assert (ran.status, len(ran.err.splitlines())) == (1, 1), ran.err
    assert "10000000 bytes together" in ran.err
    assert not (tmp_path / "x.sif").exists()


def many(registry, count, **platform):
    manifest = registry.blobs.image([tar(file("a", b"x"))], config_changes={"padding": "x" * (7 * MIB)})
    del manifest["platform"]
    document = registry.blobs[manifest["digest"]]
    entries = []
    for number in range(count):
        other = document[:-1] + f',"number":{number}}}'.encode()
        entries.append({**registry.blobs.put(other, OCI_MANIFEST), **platform})
    index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}
    return registry.blobs.put(json.dumps(index).encode(), OCI_INDEX)


def test_a_large_config_that_many_manifests_name_is_parsed_once(registry, tmp_path):
    index = many(registry, 1000)
    write_layout(tmp_path / "layout", registry.blobs, {"latest": index})
    ran = measured("pull", "x.sif", "oci:layout:latest", "--arch", "s390x", cwd=tmp_path)
    assert (ran.status, len(ran.err.splitlines())) == (1, 1), ran.err
    assert "only for linux/amd64" in ran.err
    assert ran.seconds < 5
    assert ran.memory < 256 * MIB


def test_more_entries_without_a_platform_than_are_asked_say_so(registry):
    registry.tag("org/image", "1", many(registry, 1001))
    with pytest.raises(
        SourceError, match="1001 entries of the image's index have no platform, more than the limit of 1000"
    ):
        pull(f"docker://{registry.host}/org/image:1")


def test_indexes_in_an_index_share_one_bound_on_entries(registry):
    entry = {"mediaType": OCI_MANIFEST, "digest": digest_of(b""), "size": 1, "platform": {"os": "linux"}}
    inner = []
    for number in range(3):
        document = {"schemaVersion": 2, "manifests": [entry] * 4000, "annotations": {"n": str(number)}}
        inner.append(registry.blobs.put(json.dumps(document).encode(), OCI_INDEX))
        registry.on("GET", inner[-1]["digest"], Answer(200, registry.blobs[inner[-1]["digest"]]))
    outer = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": inner}
    registry.tag("org/image", "1", registry.blobs.put(json.dumps(outer).encode(), OCI_INDEX))
    with pytest.raises(SourceError, match="more than 10000 entries together"):
        pull(f"docker://{registry.host}/org/image:1")


FILLINGS = {
    "empty lists": b"[],",
    "numbers": b"1.5,",
    "objects": b'{"a":1.5},',
    "short texts": b'"ab",',
    "wide texts": '"\U0001f600",'.encode(),
    "zeros": b"0,",
}


@pytest.mark.parametrize("filling", FILLINGS.values(), ids=FILLINGS.keys())
@pytest.mark.parametrize("what", ["config", "manifest"])
def test_documents_that_grow_in_memory_stay_within_bounds(registry, tmp_path, filling, what):
    room = 8 * MIB - 4096 if what == "config" else 4 * MIB - 4096
    text = b"[" + filling * (room // len(filling)) + b"0]"
    image = registry.blobs.image([tar(file("a", b"x"))])
    if what == "config":
        config = registry.blobs[registry.blobs.document(image)["config"]["digest"]]
        changed = registry.blobs.put(config[:-1] + b',"x":' + text + b"}", OCI_CONFIG)
        image = registry.blobs.image([tar(file("a", b"x"))], manifest_changes={"config": changed})
    else:
        document = registry.blobs[image["digest"]]
        image = registry.blobs.put(document[:-1] + b',"x":' + text + b"}", OCI_MANIFEST)
    registry.tag("org/image", "1", image)
    ran = measured("pull", "x.sif", f"docker://{registry.host}/org/image:1", "--arch", "amd64", cwd=tmp_path)
    assert ran.memory < 256 * MIB
    assert ran.seconds < 5
    assert ran.status == 0 or (ran.status == 1 and len(ran.err.splitlines()) == 1), ran.err
    assert "damaged" not in ran.err


LAYERS = [tar(file("a", b"%d" % number)) for number in range(501)]


def test_more_layers_than_are_allowed_are_refused_by_their_number(registry, tmp_path):
    registry.tag("org/image", "1", registry.blobs.image(LAYERS))
    before = len(registry.log)
    ran = measured("pull", "x.sif", f"docker://{registry.host}/org/image:1", "--arch", "amd64", cwd=tmp_path)
    assert ran.status == 1
    assert "the image has 501 layers, more than the limit of 500" in ran.err
    assert "raise layers" in ran.err
    assert len(ran.err.splitlines()) == 1
    assert len(registry.log) - before < 5  # no layer was fetched


def test_a_site_may_allow_more_layers_and_the_limit_on_open_files_is_raised(registry, tmp_path):
    registry.tag("org/image", "1", registry.blobs.image(LAYERS))
    (tmp_path / "config").mkdir()
    (tmp_path / "config/config.yaml").write_text("limits: {layers: 600}\n")
    words = ("pull", "x.sif", f"docker://{registry.host}/org/image:1", "--arch", "amd64")
    few = "resource.setrlimit(resource.RLIMIT_NOFILE, (256, 300))"
    ran = measured(*words, cwd=tmp_path, before=few)
    assert (ran.status, len(ran.err.splitlines())) == (1, 1), ran.err
    assert "501 layers, which need 629 open files, and only 300 are allowed; raise the hard limit to 629" in ran.err
    ran = measured(*words, cwd=tmp_path, before="resource.setrlimit(resource.RLIMIT_NOFILE, (256, 4096))")
    assert ran.status == 0, ran.err


def test_the_layers_of_archives_are_counted_too(registry, tmp_path):
    write_layout(tmp_path / "layout", registry.blobs, {"latest": registry.blobs.image(LAYERS)})
    source = open_source(f"oci:{tmp_path}/layout:latest", settings())
    with pytest.raises(SourceError, match="the image has 501 layers, more than the limit of 500"):
        pull(f"oci:{tmp_path}/layout:latest")
    source.close()
