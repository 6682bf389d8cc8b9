"""Download, inflating and packing overlap: layers over one slow link take little longer than their bytes do."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

from sifmake.builder import image_build
from sifmake.limits import DEFAULT_LIMITS
from sifmake.oci import parse_platform
from sifmake.progress import Silent
from sifmake.sources import open_source
from sifmake.store import Store
from support.pulling import settings
from support.registry import FakeRegistry, Link

LAYERS, FILES, FILE_BYTES = 12, 36, 140_000
LATENCY, RATE = 0.05, 20e6
SERVER = "from test_overlap import serve; serve()"
RUNS = 6
"""The best one counts: the machine may have other things to do."""


def serve() -> None:
    """Serve an image over a shaped link until standard input ends; run in a process of its own."""
    from support.layers import file, tar

    registry = FakeRegistry()
    dice = random.Random(1)
    layers = [tar(*[file(f"{n}/{m}", dice.randbytes(FILE_BYTES)) for m in range(FILES)]) for n in range(LAYERS)]
    image = registry.blobs.image(layers)
    registry.tag("org/image", "1", image)
    registry.link = Link(LATENCY, RATE)
    size = sum(layer["size"] for layer in registry.blobs.document(image)["layers"])
    sys.stdout.write(f"{registry.host} {size}\n")
    sys.stdout.flush()
    sys.stdin.read()


def timed_pull(host, folder):
    source = open_source(f"docker://{host}/org/image:1", settings())
    began = time.monotonic()
    image = source.image(source.resolve(parse_platform("amd64")).manifest_digest)
    packs = image_build.fetch_packs(source, image, Store.open(folder), "gzip", DEFAULT_LIMITS, Silent())
    seconds = time.monotonic() - began
    for pack in packs:
        pack.close()
    source.close()
    return seconds


def test_twelve_layers_over_a_slow_link(tmp_path):
    here = Path(__file__).parent
    paths = f"import sys; sys.path[:0] = [{str(here)!r}, {str(here.parent)!r}]; "
    words = [sys.executable, "-c", paths + SERVER]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        host, size = server.stdout.readline().split()
        transfer = int(size) / RATE
        ratios = []
        while len(ratios) < RUNS and min(ratios, default=9) > 1.15:
            ratios.append(timed_pull(host, tmp_path / str(len(ratios))) / transfer)
        server.kill()
    assert min(ratios) <= 1.15, ratios
