"""Parsing of ``WWW-Authenticate`` (RFC 9110, section 11.6.1): several challenges in any order, quoted or not."""

from __future__ import annotations

import re
from dataclasses import dataclass

_WORD = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_BETWEEN = re.compile(r"[\s,]*")
_SCHEME = re.compile(rf"({_WORD})(?=\s|,|\Z)")
_PARAMETER = re.compile(rf'[\s,]*({_WORD})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')
_WORD68 = re.compile(r"\s+[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|\Z))")
_ESCAPE = re.compile(r"\\(.)")
_LONGEST_HEADER = 16 * 1024


@dataclass(frozen=True)
class Challenge:
    """One way to authenticate that a server offers.

    Attributes:
        scheme: In lower case, for example ``bearer`` or ``basic``.
        parameters: By lower-case name.
    """

    scheme: str
    parameters: dict[str, str]


def parse_challenges(header: str) -> list[Challenge]:
    """Return the challenges of a ``WWW-Authenticate`` header; unknown parts are ignored."""
    header = header[:_LONGEST_HEADER]
    challenges = []
    position = 0
    while match := _next_scheme(header, position):
        parameters, position = _parameters(header, match.end())
        challenges.append(Challenge(match[1].lower(), parameters))
    return challenges


def pull_scopes(challenge: Challenge, repository: str, actions: str) -> list[str]:
    """Return the scopes for which to request a token: those of the challenge, but with ``actions``.

    Registries behind a proxy may use another name for a repository than the client, so their name is used.
    """
    scopes = []
    for scope in challenge.parameters.get("scope", "").split():
        kind, _, rest = scope.partition(":")
        name, colon, _ = rest.rpartition(":")
        if kind == "repository" and colon and name:
            scopes.append(f"repository:{name}:{actions}")
    return scopes or ([f"repository:{repository}:{actions}"] if repository else [])


def _next_scheme(header: str, position: int) -> re.Match[str] | None:
    while position < len(header):
        begin = _BETWEEN.match(header, position)
        position = begin.end() if begin else position
        if match := _SCHEME.match(header, position):
            return match
        comma = header.find(",", position)
        position = len(header) if comma < 0 else comma + 1
    return None


def _parameters(header: str, position: int) -> tuple[dict[str, str], int]:
    parameters: dict[str, str] = {}
    if match := _WORD68.match(header, position):
        return parameters, match.end()
    while match := _PARAMETER.match(header, position):
        quoted, bare = match[2], match[3]
        parameters.setdefault(match[1].lower(), bare if quoted is None else _ESCAPE.sub(r"\1", quoted))
        position = match.end()
    return parameters, position
