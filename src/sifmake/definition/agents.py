"""The base of a stage: the supported agents, and what to use instead of the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sifmake.definition.blanks import trimmed
from sifmake.definition.model import Base
from sifmake.errors import BadReferenceError

if TYPE_CHECKING:
    from sifmake.definition.header import StageHeader
    from sifmake.definition.problems import DefinitionPlace

_AGENTS = (
    "docker",
    "docker-daemon",
    "docker-archive",
    "oci",
    "oci-archive",
    "localimage",
    "oras",
    "http",
    "https",
    "scratch",
)
"""Supported values of ``Bootstrap:``."""
_ADDRESSES = frozenset(("docker", "oras", "http", "https"))
_OCI = _AGENTS[:5]
"""Agents that put ``Registry:`` and ``Namespace:`` before ``From:``."""

_USE = "write `Bootstrap: docker` and `From: IMAGE`"
_FOLDER = "write `Bootstrap: localimage` and `From: FOLDER`"
_SIF_FILE = "write `Bootstrap: localimage` and `From: FILE.sif`"
_DNF = f"{_USE} (rockylinux:9, fedora:latest), or run `dnf --installroot=FOLDER install ...` as root and {_FOLDER}"
_REFUSED = {
    "debootstrap": f"{_USE} (debian:stable-slim), or run `debootstrap SUITE FOLDER` as root and {_FOLDER}",
    "yum": _DNF,
    "dnf": _DNF,
    "zypper": f"{_USE} (opensuse/leap), or run `zypper --root FOLDER install ...` as root and {_FOLDER}",
    "arch": f"{_USE} (archlinux:latest), or run `pacstrap FOLDER base` as root and {_FOLDER}",
    "busybox": f"{_USE} (busybox:musl)",
    "dockerfile": "run `docker build -t NAME .` and write `Bootstrap: docker-daemon` and `From: NAME`, or run "
    "`buildctl build ... --output type=oci,dest=FILE` and write `Bootstrap: oci-archive` and `From: FILE`",
    "library": f"pull the image with a tool that knows the SIF library, then {_SIF_FILE}",
    "shub": f"Singularity Hub is closed: find the image in a registry, or {_SIF_FILE}",
}
_REFUSED["buildkit"] = _REFUSED["dockerfile"]


def base_of(header: StageHeader, place: DefinitionPlace, line: int) -> Base:
    """Return the base of a stage.

    Args:
        header: The stage's header.
        place: For messages.
        line: Number of the stage's first line.

    Raises:
        DefinitionError: The agent is missing, unknown or not supported, or ``From:`` is missing.
    """
    agent = header.values.get("bootstrap", "")
    number = header.lines.get("bootstrap", line)
    if not agent:
        raise place.error(number, "Bootstrap: has no value", f"write one of {', '.join(_AGENTS)}")
    if agent not in _AGENTS:
        raise place.error(number, *_why_not(agent))
    reference = _reference(agent, header)
    if not reference and agent != "scratch":
        raise place.error(number, f"Bootstrap: {agent} needs From:", "write From: IMAGE below Bootstrap:")
    base = Base(agent, reference, _fingerprints(header), header.lines.get("from", number))
    if agent in _ADDRESSES:
        _check_address(base, place)
    return base


def _check_address(base: Base, place: DefinitionPlace) -> None:
    from sifmake.reference import parse_uri

    try:
        parse_uri(base.uri)
    except BadReferenceError as error:
        raise place.error(base.line, error.what, error.hint) from None


def _why_not(agent: str) -> tuple[str, str]:
    shown = agent[:40]
    if agent in _REFUSED:
        return f"the agent {shown!r} is not supported", _REFUSED[agent]
    if agent.lower() in _AGENTS:
        return f"unknown agent {shown!r}: case matters", f"write Bootstrap: {agent.lower()}"
    return f"unknown agent {shown!r}", f"use {', '.join(_AGENTS)}"


def _reference(agent: str, header: StageHeader) -> str:
    reference = header.values.get("from", "")
    if agent == "scratch":
        return ""
    if agent in _OCI and reference:
        parts = (header.values.get("registry"), header.values.get("namespace"))
        reference = "".join(f"{part}/" for part in parts if part) + reference
    return reference.removeprefix("//") if agent in {"http", "https"} else reference


def _fingerprints(header: StageHeader) -> tuple[str, ...]:
    return tuple(filter(None, map(trimmed, header.values.get("fingerprints", "").split(","))))
