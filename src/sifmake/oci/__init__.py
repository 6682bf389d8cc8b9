"""The data types of the OCI image spec: digests, descriptors, manifests, configs, platforms."""

from sifmake.oci.choosing import choose_manifest
from sifmake.oci.digest import check_bytes, digest_bytes, is_digest
from sifmake.oci.documents import Index, Manifest, parse_config, parse_document, parse_index, parse_manifest
from sifmake.oci.loading import Documents, find_manifest, load_image
from sifmake.oci.model import Descriptor, Image, ImageConfig, Layer, Platform
from sifmake.oci.platform import host_platform, parse_platform

__all__ = [
    "Descriptor",
    "Documents",
    "Image",
    "ImageConfig",
    "Index",
    "Layer",
    "Manifest",
    "Platform",
    "check_bytes",
    "choose_manifest",
    "digest_bytes",
    "find_manifest",
    "host_platform",
    "is_digest",
    "load_image",
    "parse_config",
    "parse_document",
    "parse_index",
    "parse_manifest",
    "parse_platform",
]
