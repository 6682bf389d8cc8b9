"""Build signed SIF files from container images, and rebuild only what changed.

The shortest useful program pulls an image, as ``sifmake pull`` does::

    import sifmake

    sif = sifmake.pull("docker://alpine:3.20", "alpine.sif")

Then inspect the file, sign it, run it, upload it::

    print(sifmake.inspect(sif).labels)
    sifmake.Keyring().new_pair("mine")
    sifmake.sign(sif, "mine")
    print(sifmake.verify(sif).signers)
    sifmake.execute(sif, ["cat", "/etc/os-release"], check=True)
    sifmake.push(sif, "oras://ghcr.io/me/alpine:3.20")

In a project (see :func:`start_project`), :func:`lock` records the digests that tags point to, :func:`run_stage` runs
one stage of one image, :func:`rebuild` does everything that a scheduled run needs, and :func:`seed` places finished
files where Snakemake looks for them. :class:`Cache`, :class:`Keyring` and :func:`login` manage the store, the keys and
the credentials for registries.

The names in ``__all__`` and :mod:`sifmake.errors` are public; everything else may change. Errors are
:class:`~sifmake.errors.SifmakeError` or :class:`OSError`, results are frozen dataclasses, paths are
:class:`pathlib.Path`. The functions may be called from several threads. They print nothing, ask nothing, and do not
change signal handlers, environment or current folder: messages go to a :class:`Progress` if one is given, and a missing
passphrase is an error.
"""

__version__ = "0.3.0"

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake import errors as errors
    from sifmake.api.building import BuildOptions, BuiltImage, build
    from sifmake.api.cache import Cache
    from sifmake.api.cache_results import CacheCheck, CachedFile, CacheExport, CacheImport, CacheRemoval
    from sifmake.api.definitions import lint
    from sifmake.api.exporting import ExportedImage, ExportOptions, export, push_image
    from sifmake.api.images import PushedSif, SifFile, pull, push
    from sifmake.api.inspection import Inspection, diff, digest, inspect, inspect_image, open_sif
    from sifmake.api.keys import KeyImport, KeyPair, Keyring, PrivateKeyFile, PublicKeyFile
    from sifmake.api.project import STAGES, SeededFile, StageOptions, lock, rebuild, run_stage, seed, start_project
    from sifmake.api.registries import login, logins, logout
    from sifmake.api.remote_store import PacksPulled, PacksPushed, PacksRemoved, RemoteStore
    from sifmake.api.running import execute, write_shims
    from sifmake.api.signatures import sign, verify
    from sifmake.compare.comparison import Change, Comparison
    from sifmake.definition.lint import LintFinding
    from sifmake.drivers.new_project import NewProject
    from sifmake.drivers.rebuild import ImageState, Rebuild
    from sifmake.errors import SifmakeError
    from sifmake.progress import Progress, Silent, Task
    from sifmake.registry.login import KnownRegistry
    from sifmake.sif.format import DataType, Descriptor, Header
    from sifmake.sif.reader import Sif
    from sifmake.signing.sign import SignatureInfo
    from sifmake.signing.verdict import NotVerifiedError, SignatureCheck, SignerCheck, Verdict, Verification
    from sifmake.stages.lock_refresh import LockOutcome

__all__ = [
    "STAGES",
    "BuildOptions",
    "BuiltImage",
    "Cache",
    "CacheCheck",
    "CacheExport",
    "CacheImport",
    "CacheRemoval",
    "CachedFile",
    "Change",
    "Comparison",
    "DataType",
    "Descriptor",
    "ExportOptions",
    "ExportedImage",
    "Header",
    "ImageState",
    "Inspection",
    "KeyImport",
    "KeyPair",
    "Keyring",
    "KnownRegistry",
    "LintFinding",
    "LockOutcome",
    "NewProject",
    "NotVerifiedError",
    "PacksPulled",
    "PacksPushed",
    "PacksRemoved",
    "PrivateKeyFile",
    "Progress",
    "PublicKeyFile",
    "PushedSif",
    "Rebuild",
    "RemoteStore",
    "SeededFile",
    "Sif",
    "SifFile",
    "SifmakeError",
    "SignatureCheck",
    "SignatureInfo",
    "SignerCheck",
    "Silent",
    "StageOptions",
    "Task",
    "Verdict",
    "Verification",
    "build",
    "diff",
    "digest",
    "execute",
    "export",
    "inspect",
    "inspect_image",
    "lint",
    "lock",
    "login",
    "logins",
    "logout",
    "open_sif",
    "pull",
    "push",
    "push_image",
    "rebuild",
    "run_stage",
    "seed",
    "sign",
    "start_project",
    "verify",
    "write_shims",
]

_HOMES = {
    "api.building": ("BuildOptions", "BuiltImage", "build"),
    "api.cache": ("Cache",),
    "api.cache_results": ("CacheCheck", "CacheExport", "CacheImport", "CacheRemoval", "CachedFile"),
    "api.definitions": ("lint",),
    "api.exporting": ("ExportOptions", "ExportedImage", "export", "push_image"),
    "api.images": ("PushedSif", "SifFile", "pull", "push"),
    "api.inspection": ("Inspection", "diff", "digest", "inspect", "inspect_image", "open_sif"),
    "api.keys": ("KeyImport", "KeyPair", "Keyring", "PrivateKeyFile", "PublicKeyFile"),
    "api.project": ("STAGES", "SeededFile", "StageOptions", "lock", "rebuild", "run_stage", "seed", "start_project"),
    "api.registries": ("login", "logins", "logout"),
    "api.remote_store": ("PacksPulled", "PacksPushed", "PacksRemoved", "RemoteStore"),
    "api.running": ("execute", "write_shims"),
    "api.signatures": ("sign", "verify"),
    "compare.comparison": ("Change", "Comparison"),
    "definition.lint": ("LintFinding",),
    "drivers.new_project": ("NewProject",),
    "drivers.rebuild": ("ImageState", "Rebuild"),
    "errors": ("SifmakeError",),
    "progress": ("Progress", "Silent", "Task"),
    "registry.login": ("KnownRegistry",),
    "sif.format": ("DataType", "Descriptor", "Header"),
    "sif.reader": ("Sif",),
    "signing.sign": ("SignatureInfo",),
    "signing.verdict": ("NotVerifiedError", "SignatureCheck", "SignerCheck", "Verdict", "Verification"),
    "stages.lock_refresh": ("LockOutcome",),
}
"""The module that defines each name; it is imported on first use, so that ``import sifmake`` is fast."""


if not TYPE_CHECKING:  # with it, a type checker would accept any name as public

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name == "errors":
            return import_module("sifmake.errors")
        for module, names in _HOMES.items():
            if name in names:
                value = globals()[name] = getattr(import_module(f"sifmake.{module}"), name)
                return value
        raise AttributeError(f"module 'sifmake' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, "errors"})
