"""Digital signatures of SIF files, in the formats that Apptainer and SingularityCE make and verify."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from sifmake.signing.keystore import config_folder, default_trust, development_key, development_trust
    from sifmake.signing.passphrase import Passphrase
    from sifmake.signing.sign import SignatureInfo, sign_file
    from sifmake.signing.signer import Signer, load_signer
    from sifmake.signing.trust import TrustStore
    from sifmake.signing.verdict import Verdict, Verification
    from sifmake.signing.verify import verify_file, verify_open

__all__ = [
    "Passphrase",
    "SignatureInfo",
    "Signer",
    "TrustStore",
    "Verdict",
    "Verification",
    "config_folder",
    "default_trust",
    "development_key",
    "development_trust",
    "load_signer",
    "sign_file",
    "verify_file",
    "verify_open",
]

_HOMES = {
    "Passphrase": "passphrase",
    "SignatureInfo": "sign",
    "Signer": "signer",
    "TrustStore": "trust",
    "Verdict": "verdict",
    "Verification": "verdict",
    "config_folder": "keystore",
    "default_trust": "keystore",
    "development_key": "keystore",
    "development_trust": "keystore",
    "load_signer": "signer",
    "sign_file": "sign",
    "verify_file": "verify",
    "verify_open": "verify",
}
"""The module that defines each name; it is imported on first use, because a no-op only compares the trusted keys."""


if not TYPE_CHECKING:  # with it, a type checker would accept any name

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name not in _HOMES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(import_module(f"sifmake.signing.{_HOMES[name]}"), name)
