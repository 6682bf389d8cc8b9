"""Digital signatures of SIF files, in the formats that Apptainer and SingularityCE make and verify."""

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
