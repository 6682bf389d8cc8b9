"""Turn error answers of registries into errors (OCI distribution spec, "Error codes")."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sifmake.errors import RegistryError
from sifmake.registry.transport import BROKEN

if TYPE_CHECKING:
    from sifmake.registry.transport import Response

_LARGEST_BODY = 64 * 1024
_LONGEST_MESSAGE = 200


class NotFoundError(RegistryError):
    """The registry does not have the requested object."""


def error_from_response(response: Response, host: str) -> RegistryError:
    """Return the error for an answer, with the registry's message."""
    words = _words(response)
    if response.status == 404:
        hint = "check the name and its tag or digest"
        return NotFoundError(f"the registry has no such image{words}", where=host, hint=hint)
    if response.status == 429:
        return RegistryError(
            f"the registry refuses more requests for now{words}",
            where=host,
            hint=f"wait, or run `sifmake registry login {host}`",
        )
    if response.status == 403:
        return RegistryError(
            f"access was refused (403){words}", where=host, hint="check the name, and that you may read it"
        )
    if response.status == 407:
        hint = "add them to HTTPS_PROXY or HTTP_PROXY: http://USER:PASSWORD@PROXY:PORT"
        return RegistryError("the proxy requires a user and a password", where=host, hint=hint)
    later = "try again later, or ask its operator" if response.status >= 500 else "check that this is a registry"
    return RegistryError(f"the registry answered with status {response.status}{words}", where=host, hint=later)


def _words(response: Response) -> str:
    try:
        body = response.read_all(_LARGEST_BODY)
        errors = json.loads(body)["errors"]
        parts = [f"{item.get('code', '')}: {item.get('message', '')}".strip(": ") for item in errors[:3]]
    except (*BROKEN, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return ""
    text = ", ".join(part for part in parts if part)[:_LONGEST_MESSAGE]
    return f" ({text})" if text else ""
