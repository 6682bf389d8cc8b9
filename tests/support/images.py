"""Small images for tests, in memory and as OCI layouts, OCI archives and docker archives.

    from support.images import Blobs, write_layout, write_oci_archive, write_docker_archive
    from support.layers import file, folder, tar

    blobs = Blobs()
    image = blobs.image([tar(folder("etc/"), file("etc/motd", b"hello"))], config={"Cmd": ["/bin/sh"]})
    write_layout(tmp_path / "layout", blobs, {"latest": image})          # oci:layout:latest
    write_oci_archive(tmp_path / "image.tar", blobs, {"latest": image})  # oci-archive:image.tar
    write_docker_archive(tmp_path / "save.tar", blobs, {"name:latest": image})

``image`` is the manifest's descriptor, a plain dict with ``mediaType``, ``digest``, ``size`` and ``platform``;
``blobs[digest]`` are the bytes of anything, ``blobs.document(descriptor)`` a parsed document. To break an image on
purpose, change ``blobs.data[digest]``, or pass ``manifest_changes`` / ``config_changes``.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import shutil
import sys
import tarfile
from typing import TYPE_CHECKING, Any

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from pathlib import Path

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"
CREATED = "2021-02-03T04:05:06Z"

Descriptor = dict[str, Any]


def digest_of(data: bytes, algorithm: str = "sha256") -> str:
    return f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"


def compress(raw: bytes, compression: str) -> bytes:
    """Return a tar stream as a layer blob: ``none``, ``gzip`` or ``zstd``."""
    if compression == "gzip":
        return gzip.compress(raw, 6, mtime=0)
    return zstd.compress(raw, 3) if compression == "zstd" else raw


class Blobs:
    """Content by digest.

    Attributes:
        data: Bytes by digest.
    """

    def __init__(self) -> None:
        self.data: dict[str, bytes] = {}

    def __getitem__(self, digest: str) -> bytes:
        return self.data[digest]

    def document(self, descriptor: Descriptor) -> dict[str, Any]:
        return json.loads(self.data[descriptor["digest"]])

    def put(self, data: bytes, media_type: str, *, algorithm: str = "sha256", **more: Any) -> Descriptor:
        """Keep bytes and return their descriptor."""
        digest = digest_of(data, algorithm)
        self.data[digest] = data
        return {"mediaType": media_type, "digest": digest, "size": len(data), **more}

    def put_json(self, document: Any, media_type: str, **more: Any) -> Descriptor:
        return self.put(json.dumps(document).encode(), media_type, **more)

    def layer(self, raw: bytes, compression: str = "gzip", *, docker: bool = False, **more: Any) -> Descriptor:
        """Keep a tar stream as a layer and return its descriptor."""
        if docker:
            suffix = {"none": "", "gzip": ".gzip", "zstd": ".zst"}[compression]
        else:
            suffix = {"none": "", "gzip": "+gzip", "zstd": "+zstd"}[compression]
        return self.put(compress(raw, compression), (DOCKER_LAYER if docker else OCI_LAYER) + suffix, **more)

    def image(
        self,
        layers: Sequence[bytes],
        *,
        config: Mapping[str, Any] | None = None,
        platform: str = "linux/amd64",
        compression: str = "gzip",
        docker: bool = False,
        algorithm: str = "sha256",
        layer_descriptors: Sequence[Descriptor] | None = None,
        manifest_changes: Mapping[str, Any] | None = None,
        config_changes: Mapping[str, Any] | None = None,
    ) -> Descriptor:
        """Keep an image of one platform and return its manifest's descriptor.

        Args:
            layers: Uncompressed tar streams, lowest first.
            config: The ``config`` member: Env, Cmd, ...
            platform: ``os/architecture[/variant]``.
            compression: Of the layers.
            docker: Use Docker's media types.
            algorithm: Of the digests.
            layer_descriptors: Take these instead of keeping ``layers``; DiffIDs are still made from ``layers``.
            manifest_changes: Members to replace in the manifest.
            config_changes: Members to replace in the config; None removes one.
        """
        place = platform_dict(platform)
        document = {
            "created": CREATED,
            **place,
            "config": dict(config or {}),
            "rootfs": {"type": "layers", "diff_ids": [digest_of(raw, algorithm) for raw in layers]},
            "history": [{"created": CREATED, "created_by": f"layer {n}"} for n in range(len(layers))],
        }
        document = {k: v for k, v in {**document, **(config_changes or {})}.items() if v is not None}
        if layer_descriptors is None:
            layer_descriptors = [self.layer(raw, compression, docker=docker, algorithm=algorithm) for raw in layers]
        media_type = DOCKER_MANIFEST if docker else OCI_MANIFEST
        manifest = {
            "schemaVersion": 2,
            "mediaType": media_type,
            "config": self.put_json(document, DOCKER_CONFIG if docker else OCI_CONFIG, algorithm=algorithm),
            "layers": list(layer_descriptors),
            **(manifest_changes or {}),
        }
        return self.put_json(manifest, media_type, algorithm=algorithm, platform=place)

    def index(self, entries: Sequence[Descriptor], *, docker: bool = False, **more: Any) -> Descriptor:
        """Keep an image index and return its descriptor."""
        media_type = DOCKER_LIST if docker else OCI_INDEX
        document = {"schemaVersion": 2, "mediaType": media_type, "manifests": list(entries), **more}
        return self.put_json(document, media_type)

    def attestation(self, subject: Descriptor) -> Descriptor:
        """Keep what buildx adds to an index for each image: an in-toto manifest for ``unknown/unknown``."""
        statement = self.put_json({"_type": "https://in-toto.io/Statement/v0.1"}, "application/vnd.in-toto+json")
        descriptor = self.image([], layer_descriptors=[statement], platform="unknown/unknown")
        annotations = {
            "vnd.docker.reference.type": "attestation-manifest",
            "vnd.docker.reference.digest": subject["digest"],
        }
        return {**descriptor, "annotations": annotations}


def platform_dict(text: str) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))


def write_layout(folder: Path, blobs: Blobs, images: Mapping[str, Descriptor] | Iterable[Descriptor]) -> Path:
    """Write an OCI layout whose ``index.json`` lists the images, by tag where a mapping is given."""
    for digest, data in blobs.data.items():
        algorithm, name = digest.split(":")
        (folder / "blobs" / algorithm).mkdir(parents=True, exist_ok=True)
        (folder / "blobs" / algorithm / name).write_bytes(data)
    entries = [*images]
    if hasattr(images, "items"):
        ref = "org.opencontainers.image.ref.name"
        entries = [{**d, "annotations": {**d.get("annotations", {}), ref: tag}} for tag, d in images.items()]
    (folder / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries}))
    return folder


def write_oci_archive(
    path: Path, blobs: Blobs, images: Mapping[str, Descriptor] | Iterable[Descriptor], *, compression: str = "none"
) -> Path:
    """Write the tar archive of an OCI layout, as ``skopeo copy ... oci-archive:`` does."""
    folder = write_layout(path.with_name(f"{path.name}.layout"), blobs, images)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(folder, ".")
    shutil.rmtree(folder)
    path.write_bytes(compress(buffer.getvalue(), compression))
    return path


def write_docker_archive(
    path: Path, blobs: Blobs, images: Mapping[str, Descriptor], *, compression: str = "none", inner: str = "none"
) -> Path:
    """Write what ``docker save`` gives: layers uncompressed (or ``inner``-compressed), ``manifest.json`` last.

    Args:
        path: The archive.
        blobs: Has manifests, configs and layers.
        images: ``name:tag`` to the manifest's descriptor; several names of one image are put together.
        compression: Of the whole archive.
        inner: Of the layers inside.
    """
    members: dict[str, bytes] = {}
    entries: dict[str, dict[str, Any]] = {}
    for name, descriptor in images.items():
        manifest = blobs.document(descriptor)
        config = manifest["config"]["digest"].split(":")[1]
        layers = [docker_member(blobs[layer["digest"]], inner, members) for layer in manifest["layers"]]
        members[f"{config}.json"] = blobs[manifest["config"]["digest"]]
        entry = entries.setdefault(config, {"Config": f"{config}.json", "RepoTags": [], "Layers": layers})
        if name:
            entry["RepoTags"].append(name)
    members["manifest.json"] = json.dumps(list(entries.values())).encode()
    path.write_bytes(compress(plain_tar(members), compression))
    return path


def docker_member(blob: bytes, inner: str, members: dict[str, bytes]) -> str:
    raw = decompress(blob)
    name = f"{hashlib.sha256(raw).hexdigest()}/layer.tar"
    members[name] = compress(raw, inner)
    return name


def decompress(blob: bytes) -> bytes:
    if blob[:2] == b"\x1f\x8b":
        return gzip.decompress(blob)
    return zstd.decompress(blob) if blob[:4] == b"\x28\xb5\x2f\xfd" else blob


def plain_tar(members: Mapping[str, bytes | str]) -> bytes:
    """Return a tar archive of files (bytes) and symlinks (str, the target) in the given order."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, str):
                info.type, info.linkname = tarfile.SYMTYPE, content
                archive.addfile(info)
            else:
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()
