"""A project of many images in a registry with TLS: what refreshing its locks and a build cost when nothing changed."""

from __future__ import annotations

import http.client
import json
import shutil
import ssl
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.bench import median
from benchmarks.report import Figure
from benchmarks.tool import make_project

if TYPE_CHECKING:
    from benchmarks.bench import Bench

REPOSITORIES = 30
LOCK_SECONDS, DOIT_SECONDS, DOIT_MIB = 5.0, 8.0, 150.0
"""Of processors, because these are most of the time and do not depend on what else the machine does."""
_MIB = 1 << 20
_HELLO = Path(__file__).parents[1] / "examples" / "hello" / "layout"
_CERTIFICATE = ("-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "30")


def many_images(bench: Bench) -> None:
    """Lock, build and then only check a project of many images; the registry has TLS."""
    if not peers.available("docker-registry", "skopeo", "openssl"):
        bench.report.skip("many images", "docker-registry, skopeo or openssl is missing")
        return
    count = bench.scale.many
    certificate = _make_certificate(bench.work)
    with peers.registry(bench.work, tls=certificate) as server:
        names = _push(server, certificate[0], count)
        project = make_project(bench.work / "project", names)
        settings = {"registries": {server.address: {"ca-file": str(certificate[0])}}, "key": "development"}
        (project / "sifmake.yaml").write_text(json.dumps(settings))
        bench.tool.forget()
        first = bench.tool.lock(project), bench.tool.doit(project, "pull_image")
        locks = [bench.tool.lock(project) for _ in range(3)]
        builds = [bench.tool.doit(project, "pull_image") for _ in range(3)]
    note = f"{median(locks):.2f} s; first lock of all {first[0].seconds:.1f} s"
    title = f"sifmake lock, {count} images unchanged: processor time"
    bench.report.add(Figure(title, median(locks, lambda run: run.cpu), LOCK_SECONDS, note=note))
    note = f"{median(builds):.2f} s; first build of all {first[1].seconds:.1f} s"
    title = f"doit pull_image, {count} images up to date: processor time"
    bench.report.add(Figure(title, median(builds, lambda run: run.cpu), DOIT_SECONDS, note=note))
    peak = max(run.anonymous for run in builds) / _MIB
    bench.report.add(Figure(f"doit pull_image, {count} images up to date: memory", peak, DOIT_MIB, "MiB"))
    shutil.rmtree(project)
    bench.pulled = False


def _make_certificate(work: Path) -> tuple[Path, Path]:
    """Return the files of a certificate for this machine and of its key."""
    certificate, key = work / "registry.pem", work / "registry.key"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    command = ["openssl", "req", *_CERTIFICATE, "-keyout", key, "-out", certificate, *names]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def _push(server: peers.Registry, ca_file: Path, count: int) -> dict[str, str]:
    """Give a small image many tags in some repositories; return names of images and their references."""
    manifest = _manifest()
    for number in range(REPOSITORIES):
        target = f"docker://{server.address}/many/app{number}:v{number}"
        options = ["-q", "--all", "--preserve-digests", "--dest-tls-verify=false"]
        subprocess.run(["skopeo", "copy", *options, f"oci:{_HELLO}:latest", target], check=True)
    host, _, port = server.address.partition(":")
    connection = http.client.HTTPSConnection(host, int(port), context=ssl.create_default_context(cafile=str(ca_file)))
    headers = {"Content-Type": json.loads(manifest)["mediaType"]}
    names = {}
    for number in range(count):
        name, tag = f"many/app{number % REPOSITORIES}", f"v{number}"
        connection.request("PUT", f"/v2/{name}/manifests/{tag}", manifest, headers)
        connection.getresponse().read()
        names[f"app{number}"] = f"docker://{server.address}/{name}:{tag}"
    connection.close()
    return names


def _manifest() -> bytes:
    digest = json.loads((_HELLO / "index.json").read_bytes())["manifests"][0]["digest"]
    return (_HELLO / "blobs" / digest.replace(":", "/")).read_bytes()
