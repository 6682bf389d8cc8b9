"""The engine on a source that counts: what is fetched, packed, made again, and what is left when it fails."""

import io
import json
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from sifmake.builder.damaged_packs import drop_damaged
from sifmake.builder.image_build import BuildSettings, epoch_of, fetch_packs, flatten_packs, write_sif
from sifmake.builder.transfer_slots import TransferSlots
from sifmake.errors import IntegrityError
from sifmake.limits import DEFAULT_LIMITS, Limits
from sifmake.oci.model import Descriptor, Image, ImageConfig, Layer, Platform
from sifmake.progress import Silent
from sifmake.rootfs import Origin
from sifmake.store import Store
from support.layers import diff_id_of, file, layer_of, tar

ORIGIN = Origin("oci", "layout", "", f"sha256:{'1' * 64}")


class CountingSource:
    """Layers in memory; counts how often each is opened."""

    transport, name = "oci", "layout"

    def __init__(self, layers: list[bytes], served: list[bytes] | None = None) -> None:
        self.layers = tuple(layer_of(raw, raw) for raw in layers)
        self.blobs = dict(zip((item.descriptor.digest for item in self.layers), served or layers, strict=True))
        self.opened: list[str] = []
        self._lock = threading.Lock()

    def read_through(self, manifest_digest: str) -> None:
        pass

    @contextmanager
    def open_layer(self, layer: Layer):
        with self._lock:
            self.opened.append(layer.diff_id)
        yield io.BytesIO(self.blobs[layer.descriptor.digest])

    def image(self, created: str = "2021-02-03T04:05:06Z") -> Image:
        diff_ids = tuple(item.diff_id for item in self.layers)
        document = {"created": created, "architecture": "amd64", "os": "linux", "config": {}}
        document["rootfs"] = {"type": "layers", "diff_ids": list(diff_ids)}
        raw = json.dumps(document).encode()
        config = ImageConfig(raw, document, Platform(), diff_ids)
        return Image(f"sha256:{'1' * 64}", b"{}", Descriptor("", diff_id_of(raw), len(raw)), config, self.layers)


LAYERS = [tar(file("a", b"a" * 200_000)), tar(file("b", b"b")), tar(file("c", b"c" * 9))]


def fetch(source, folder: Path, compression="gzip", limits: Limits = DEFAULT_LIMITS):
    return fetch_packs(source, source.image(), Store(folder / "store"), compression, limits, Silent())


def build(source, folder: Path, target: Path, compression="gzip"):
    packs = fetch(source, folder, compression)
    flattened = flatten_packs(packs, source.image(), Silent())
    settings = BuildSettings(compression, {})
    return write_sif(target, flattened, packs, source.image(), ORIGIN, settings, Silent())


def test_a_layer_is_fetched_once_and_then_found(tmp_path):
    source = CountingSource(LAYERS)
    first = build(source, tmp_path, tmp_path / "one.sif")
    assert sorted(source.opened) == sorted(item.diff_id for item in source.layers)
    source.opened.clear()
    again = build(source, tmp_path, tmp_path / "two.sif")
    assert source.opened == []
    assert first == again
    assert (tmp_path / "one.sif").read_bytes() == (tmp_path / "two.sif").read_bytes()


def test_one_changed_layer_is_one_fetch(tmp_path):
    fetch(CountingSource(LAYERS), tmp_path)
    source = CountingSource([*LAYERS[:2], tar(file("c", b"new"))])
    fetch(source, tmp_path)
    assert source.opened == [source.layers[2].diff_id]


def test_a_layer_that_stands_twice_is_fetched_once(tmp_path):
    source = CountingSource([LAYERS[0]])
    source.layers *= 2
    assert len(fetch(source, tmp_path)) == 2
    assert len(source.opened) == 1


def test_another_compression_fetches_nothing(tmp_path):
    source = CountingSource(LAYERS)
    fetch(source, tmp_path, "gzip")
    source.opened.clear()
    packs = fetch(source, tmp_path, "zstd")
    assert source.opened == []
    assert [pack.meta.codec for pack in packs] == ["zstd"] * 3
    fetch(source, tmp_path / "other", "zstd")
    names = sorted(path.name for path in (tmp_path / "store").rglob("*zstd*"))
    assert names == sorted(path.name for path in (tmp_path / "other").rglob("*zstd*"))


@pytest.mark.parametrize("place", [10, -10])
def test_a_damaged_pack_is_made_again(place, tmp_path):
    source = CountingSource(LAYERS[:1])
    (pack,) = fetch(source, tmp_path)
    raw = bytearray(pack.path.read_bytes())
    raw[place] ^= 1
    pack.path.write_bytes(raw)
    if place > 0:
        # Damage in the data is seen when the bytes are used; the index's already when the pack is opened.
        assert drop_damaged(fetch(source, tmp_path), Store(tmp_path / "store"))
    source.opened.clear()
    fetch(source, tmp_path)
    assert len(source.opened) == 1
    assert not drop_damaged(fetch(source, tmp_path), Store(tmp_path / "store"))


def test_a_wrong_layer_names_itself_and_leaves_the_good_ones(tmp_path):
    source = CountingSource(LAYERS, served=[LAYERS[0], LAYERS[1][:-1] + b"x", LAYERS[2]])
    with pytest.raises(IntegrityError, match="wrong digest") as caught:
        fetch(source, tmp_path)
    assert source.layers[1].descriptor.digest[:19] in str(caught.value)
    store = tmp_path / "store"
    assert not list(store.rglob(".tmp-*"))
    assert not [path for path in (store / "packs").rglob("*") if path.name.startswith(source.layers[1].diff_id[7:])]


def test_a_bomb_is_stopped_by_its_ratio(tmp_path):
    import gzip

    raw = tar(file("zeros", bytes(40_000_000)))
    blob = gzip.compress(raw)
    source = CountingSource([raw])
    source.layers = (Layer(layer_of(blob, raw).descriptor, diff_id_of(raw)),)
    source.blobs = {source.layers[0].descriptor.digest: blob}
    with pytest.raises(IntegrityError) as caught:
        fetch(source, tmp_path, limits=Limits(inflate_ratio=100, inflate_ratio_from=1 << 20))
    assert "\n" not in str(caught.value)
    assert fetch(source, tmp_path)


@pytest.mark.parametrize(
    ("created", "epoch"),
    [
        ("2021-02-03T04:05:06Z", 1612325106),
        ("2021-02-03T04:05:06.123456789Z", 1612325106),
        ("2021-02-03T06:05:06+02:00", 1612325106),
        ("1850-01-01T00:00:00Z", 0),
        ("9999-01-01T00:00:00Z", 0xFFFFFFFF),
        ("", 0),
        ("yesterday", 0),
    ],
)
def test_epoch_of_created(created, epoch):
    assert epoch_of(CountingSource([]).image(created)) == epoch


class SlowSource(CountingSource):
    """The layer that is opened first cannot be had; the others take until the pull is given up."""

    given_up = threading.Event()

    @contextmanager
    def open_layer(self, layer: Layer):
        with super().open_layer(layer) as reader:
            if layer.diff_id == self.opened[0]:
                raise IntegrityError("damaged")
            self.given_up.wait(60)
            yield reader


def test_a_pull_that_fails_begins_no_further_layer(tmp_path, monkeypatch):
    """Six have their turn; those that wait for one give up."""
    source = SlowSource([tar(file(str(number), bytes([number]) * 10)) for number in range(30)])
    close = TransferSlots.close
    monkeypatch.setattr(TransferSlots, "close", lambda slots: (close(slots), source.given_up.set()))
    with pytest.raises(IntegrityError, match="damaged"):
        fetch(source, tmp_path)
    assert len(source.opened) <= 8


def test_large_layers_come_first(tmp_path, monkeypatch):
    """On one thread, because several may overtake each other between two layers."""
    monkeypatch.setattr("sifmake.threads.most_threads", lambda: 0)
    raws = [tar(file(str(size), b"x" * size)) for size in (1, 70_000, 9_000, 200_000)]
    source = CountingSource(raws)
    fetch(source, tmp_path)
    assert source.opened == [source.layers[number].diff_id for number in (3, 1, 2, 0)]
