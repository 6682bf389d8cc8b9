"""``sifmake.yaml``: store, key, trusted keys, registries and limits of a project.

Until 0.1 these settings were in ``config/config.yaml``, which in most pipelines belongs to the pipeline itself. That
file is still read if there is no ``sifmake.yaml`` and all its keys are ours.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sifmake.errors import ConfigError
from sifmake.json_text import parse_json
from sifmake.limits import Limits

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from sifmake.progress import Progress
    from sifmake.registry.settings import HostSettings
    from sifmake.remote.settings import RemoteSettings
    from sifmake.store import Store

DEVELOPMENT = "development"
_SETTINGS = "sifmake.yaml"
"""Path of the settings in a project's folder."""
_FORMER_SETTINGS = "config/config.yaml"
"""Path of the settings until 0.1."""
KEYS = frozenset(
    {
        *("store", "key", "trusted-keys", "auth-file", "require-signature", "require_signature", "registries"),
        *("parallel-requests", "limits", "notify", "steps"),
    }
)
"""Top-level keys of the file; a test compares them with the schema."""
HANDED_ON = "SIFMAKE_CHECKED_CONFIGURATION"
_REMOTES = "SIFMAKE_REMOTE_PACKS"
"""Variable with addresses of remote stores of packs, separated by blanks."""
_LARGEST_VARIABLE = 100_000
"""Longest variable that we set; Linux refuses to start programs with a variable of 128 KiB (MAX_ARG_STRLEN)."""


@dataclass(frozen=True)
class Configuration:
    """Settings of a project.

    Attributes:
        store: Folder of the store; None for the user's store.
        read_only_stores: Further stores that are read and never written.
        remotes: Registries and web servers with packs, asked after the stores.
        shared: Who may use files in the store: ``none``, ``group``, ``all``; empty to follow the store's folder.
        trusted_owners: Users whose files in stores are used, by name or id.
        trusted_groups: Groups whose files in stores are used, by name or id.
        key: The signing key: ``development``, a key file, ``gpg:FINGERPRINT``; empty to sign nothing.
        trusted_keys: Files and folders with public keys.
        auth_file: File with registry credentials in Docker's format.
        registries: Settings by host[:port].
        parallel_requests: Most requests to registries at the same time.
        limits: Bounds on input from outside.
        require_signature: Whether ``run``, ``exec``, ``shell`` and ``test`` refuse a SIF that does not verify.
        refuse_steps: Whether a locked build refuses to run a step whose layer is missing, instead of comparing it.
        notify: Command that receives a summary of scheduled rebuilds.
        ask: Asks the user for a passphrase; None if there is no user to ask. Not a setting of the file.
    """

    store: Path | None = None
    read_only_stores: tuple[Path, ...] = ()
    remotes: tuple[RemoteSettings, ...] = ()
    shared: str = ""
    trusted_owners: tuple[int | str, ...] = ()
    trusted_groups: tuple[int | str, ...] = ()
    key: str = ""
    trusted_keys: tuple[Path, ...] = ()
    auth_file: Path | None = None
    registries: dict[str, HostSettings] = field(default_factory=dict)
    parallel_requests: int = 16
    limits: Limits = field(default_factory=Limits)
    notify: tuple[str, ...] = ()
    require_signature: bool = False
    refuse_steps: bool = False
    ask: Callable[[str], str] | None = field(default=None, compare=False, repr=False)

    def open_store(self, progress: Progress) -> Store:
        """Return the store; see :meth:`~sifmake.store.store.Store.open`."""
        from sifmake.store import Store

        return Store.open(
            self.store,
            read_only=self.read_only_stores,
            progress=progress,
            trusted_owners=self.trusted_owners,
            trusted_groups=self.trusted_groups,
            shared=self.shared,
        )

    def find_remotes(self) -> tuple[RemoteSettings, ...]:
        """Return the remote stores of packs, those of the environment last.

        Raises:
            ConfigError: An address in the environment is malformed.
        """
        if not os.environ.get(_REMOTES):
            return self.remotes
        from sifmake.remote.settings import with_addresses

        return with_addresses(self.remotes, os.environ[_REMOTES])


def load_configuration(path: Path, root: Path, *, thorough: bool = True) -> Configuration:
    """Read the configuration; a missing file gives the defaults.

    Args:
        path: The YAML file.
        root: Base of relative paths in the file.
        thorough: Whether to check the schema first, which takes 0.1 s. Stages that an engine starts skip it, because
            the engine has checked the file; they still fail on values that they cannot read.

    Raises:
        ConfigError: The file does not follow its schema.
    """
    if not path.exists():
        return Configuration()
    try:
        return _read(path, root, thorough=thorough)
    except RuntimeError:
        what = "a path begins with ~, but there is no home directory"
        raise ConfigError(what, where=str(path), hint="set HOME, or write the full path") from None


def limits_of(root: Path) -> Limits:
    """Return the limits of the project in a folder, or the defaults; errors as in :func:`load_configuration`."""
    return load_configuration(find_settings(root), root).limits


def find_settings(root: Path) -> Path:
    """Return the path of a project's settings; the file need not exist.

    A ``config/config.yaml`` with keys of another program is left to that program.

    Args:
        root: The project's folder.

    Raises:
        ConfigError: ``config/config.yaml`` cannot be read, or asks for signatures among another program's keys.
    """
    settings, former = root / _SETTINGS, root / _FORMER_SETTINGS
    if settings.exists() or not former.exists():
        return settings
    return former if _handed_on(former) is not None or not _foreign_keys(former) else settings


def has_settings(root: Path) -> bool:
    """Whether a folder has a file that may contain settings of sifmake."""
    return any((root / name).exists() for name in (_SETTINGS, _FORMER_SETTINGS))


def ignored_settings(root: Path) -> str:
    """Return a warning if ``config/config.yaml`` has keys of ours but is not read; empty otherwise."""
    settings, former = root / _SETTINGS, root / _FORMER_SETTINGS
    if settings.exists() or not former.exists() or not (root / "config" / "images.yaml").exists():
        return ""
    from sifmake.project.yaml_file import YamlFile

    value = YamlFile.read(former).value
    keys = set(value) if isinstance(value, dict) else set()
    if not keys & KEYS or not keys - KEYS:
        return ""
    foreign = ", ".join(sorted(keys - KEYS))[:60]
    return (
        f"{former}: not read, because it has keys of another program ({foreign}); move those of sifmake to {_SETTINGS}"
    )


def _foreign_keys(path: Path) -> list[str]:
    """Return the keys of a file that are not ours; a mistyped key of ours does not count."""
    from difflib import get_close_matches

    from sifmake.project.yaml_file import YamlFile

    value = YamlFile.read(path).value
    keys = set(value) if isinstance(value, dict) else set()
    foreign = sorted(key for key in keys - KEYS if not get_close_matches(key, KEYS, cutoff=0.8))
    if foreign and keys & {"require-signature", "require_signature"}:
        what = f"require-signature is set among keys of another program ({', '.join(foreign)[:60]})"
        raise ConfigError(what, where=str(path), hint=f"move the settings of sifmake to {_SETTINGS}")
    return foreign


def _read(path: Path, root: Path, *, thorough: bool) -> Configuration:
    if not thorough and (value := _handed_on(path)) is not None:
        return _convert(value, root)
    from sifmake.project.yaml_file import YamlFile

    file = YamlFile.read(path)
    if thorough:
        file.validate("config")
    try:
        return _convert(file.value or {}, root)
    except (AttributeError, KeyError, TypeError, ValueError):
        file.validate("config")
        raise ConfigError("the file does not follow its schema", where=str(path)) from None


def hand_on(path: Path, environ: MutableMapping[str, str] = os.environ) -> None:
    """Pass the content of a checked configuration to child processes, so that they need no YAML parser."""
    from sifmake.project.yaml_file import YamlFile

    if not path.exists():
        return
    text = json.dumps({"stamp": _stamp(path), "value": YamlFile.read(path).value or {}})
    if len(text) <= _LARGEST_VARIABLE:
        environ[HANDED_ON] = text


def _handed_on(path: Path) -> dict[str, Any] | None:
    """Return the content that a parent process passed, if the file has not changed since."""
    try:
        given = parse_json(os.environ.get(HANDED_ON, "null"))
        value = given["value"] if given and given["stamp"] == _stamp(path) else None
    except (LookupError, TypeError, ValueError):
        return None
    return value if isinstance(value, dict) else None


def _stamp(path: Path) -> list[Any]:
    facts = path.stat()
    return [str(path.absolute()), facts.st_size, facts.st_mtime_ns]


def _convert(given: dict[str, Any], root: Path) -> Configuration:
    store = given.get("store") or {}
    return Configuration(
        store=_path(store.get("path"), root),
        read_only_stores=_paths(store.get("read-only", ()), root),
        remotes=_remotes(store.get("remote", ()), root),
        shared=str(store.get("shared", "")),
        trusted_owners=tuple(store.get("trusted-owners", ())),
        trusted_groups=tuple(store.get("trusted-groups", ())),
        key=_key(given.get("key", ""), root),
        trusted_keys=_paths(given.get("trusted-keys", ["config/keys"]), root),
        auth_file=_path(given.get("auth-file"), root),
        registries=dict(
            _registry(host, options or {}, root) for host, options in (given.get("registries") or {}).items()
        ),
        parallel_requests=int(given.get("parallel-requests", 16)),
        limits=Limits(**{name.replace("-", "_"): int(value) for name, value in (given.get("limits") or {}).items()}),
        notify=tuple(given.get("notify", ())),
        refuse_steps=given.get("steps") == "refuse",
        require_signature=given.get("require-signature", False) or given.get("require_signature", False),
    )


def _key(text: str, root: Path) -> str:
    """Return the key as a full path, unless it is a word, ``gpg:FINGERPRINT`` or the name of a key of the user."""
    from sifmake.files import exists_quietly

    if text in {"", DEVELOPMENT} or text.startswith("gpg:"):
        return text
    path = root / Path(text).expanduser()
    return str(path) if "/" in text or exists_quietly(path) else text


def _registry(host: str, given: dict[str, Any], root: Path) -> tuple[str, HostSettings]:
    """Return a registry's canonical name and its settings; users may write a scheme, and Docker Hub has many names."""
    from sifmake.registry.auth_file import normal_key
    from sifmake.registry.settings import HostSettings

    return normal_key(host), HostSettings(
        plain_http=given.get("plain-http", False),
        ca_file=_path(given.get("ca-file"), root),
        client_cert=_path(given.get("client-cert"), root),
        client_key=_path(given.get("client-key"), root),
        mirrors=tuple(mirror.removeprefix("https://") for mirror in given.get("mirrors", ())),
        allow_http_redirects=given.get("allow-http-redirects", False),
        sif_recipes=given.get("sif-recipes", True),
    )


def _remotes(given: Any, root: Path) -> tuple[RemoteSettings, ...]:
    if not given:
        return ()
    from sifmake.remote.settings import convert_remote

    return tuple(convert_remote(item, root) for item in given)


def _path(text: str | None, root: Path) -> Path | None:
    return root / Path(text).expanduser() if text else None


def _paths(texts: Any, root: Path) -> tuple[Path, ...]:
    return tuple(root / Path(text).expanduser() for text in texts)
