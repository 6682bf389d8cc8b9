"""Programs with which sifmake is compared: umoci and mksquashfs, cp, Debian's docker-registry."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import socket
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.measure import Run, run

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.image import Image

REQUEST = re.compile(r'"(HEAD|GET|PUT|POST|PATCH) (/v2/\S*) HTTP')
CONFIG = """version: 0.1
log: {{accesslog: {{disabled: false}}}}
storage: {{filesystem: {{rootdirectory: "{folder}"}}}}
http: {{addr: "127.0.0.1:{port}"{tls}}}
"""
TLS = ', tls: {{certificate: "{}", key: "{}"}}'


def available(*programs: str) -> bool:
    """Return whether all programs are installed."""
    return all(shutil.which(program) for program in programs)


def unpack(image: Image, tag: str, bundle: Path) -> Run:
    """Unpack an image with umoci; the tree is in ``rootfs`` of the bundle."""
    shutil.rmtree(bundle, ignore_errors=True)
    return run(["umoci", "unpack", "--image", f"{image.layout}:{tag}", bundle])


def squash(tree: Path, target: Path, *options: str) -> Run:
    """Make a gzip squashfs of a tree with mksquashfs."""
    target.unlink(missing_ok=True)
    return run(["mksquashfs", tree, target, "-comp", "gzip", "-no-progress", *options])


def copy_and_hash(source: Path, target: Path) -> float:
    """Return the seconds that a plain copy to the disk and one SHA-256 pass over a file take."""
    target.unlink(missing_ok=True)
    os.sync()
    begin = time.perf_counter()
    subprocess.run(["cp", "--reflink=never", source, target], check=True)
    os.sync()
    with source.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    return time.perf_counter() - begin


@dataclass
class Registry:
    """A running docker-registry.

    Attributes:
        address: Host and port.
        log: Its access log.
    """

    address: str
    log: Path

    def push(self, image: Image, tag: str, name: str) -> str:
        """Push an image from a layout; return its reference."""
        reference = f"{self.address}/{name}:{tag}"
        source, target = f"oci:{image.layout}:{tag}", f"docker://{reference}"
        subprocess.run(
            ["skopeo", "copy", "-q", "--preserve-digests", "--dest-tls-verify=false", source, target], check=True
        )
        return reference

    def requests(self, since: int = 0) -> list[tuple[str, str]]:
        """Return methods and paths of all requests after a position in the log."""
        time.sleep(0.2)
        return REQUEST.findall(self.log.read_bytes()[since:].decode(errors="replace"))

    def position(self) -> int:
        """Return the current end of the log."""
        time.sleep(0.2)
        return self.log.stat().st_size


@contextmanager
def registry(work: Path, *, tls: tuple[Path, Path] | None = None) -> Iterator[Registry]:
    """Run a docker-registry on a free port of this machine; pushed images stay for the next run.

    Args:
        work: For its storage and log.
        tls: Files of a certificate for ``localhost`` and of its key; None for a registry without TLS.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config, log = work / "registry.yml", work / "registry.log"
    secured = TLS.format(*tls) if tls else ""
    config.write_text(CONFIG.format(folder=work / "registry", port=port, tls=secured))
    with log.open("wb") as output:
        process = subprocess.Popen(["docker-registry", "serve", config], stdout=output, stderr=output)
        try:
            _wait_for(port, process)
            yield Registry(f"{'localhost' if tls else '127.0.0.1'}:{port}", log)
        finally:
            process.terminate()
            process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    for _ in range(100):
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise SystemExit("docker-registry does not start")
