"""A secret alone encrypts: TLS contexts in which whoever holds the cluster's secret is trusted, and nobody else.

The secret and the cluster id give, through HKDF, the key of a certificate authority: every process that knows both
makes the same authority, byte for byte, and none has to be handed out. Each process then signs itself a leaf
certificate for a key that lives only in its memory. Both sides show a leaf and verify the other's, so a session proves
the secret in both directions, and who learns the secret later cannot read a recorded one (TLS 1.3 has forward secrecy).

Dates are fixed, because a node with a wrong clock has to get in all the same. Nothing has to expire: a leaf's key dies
with its process, and a secret that leaked is replaced by another.

A leaf is signed, so anyone who connects can try out guesses of the secret at home. It has to be random, 16 bytes
or more; a password that a person remembers will be found.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import ssl
import tempfile
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from covey.core.errors import ConfigError
from covey.core.ids import ClusterId

if TYPE_CHECKING:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

SERVER_NAME = "covey.internal"
"""The one name in every leaf: give it as `server_hostname` when dialling, whatever the address is."""

_KEY_LABEL = b"covey tls authority ed25519 1"  # part of the protocol: another label is another authority
_AUTHORITY_NAME = "covey cluster authority"
_AUTHORITY_SERIAL = 1
_NOT_BEFORE = datetime(1970, 1, 1, tzinfo=UTC)  # where a clock stands that was never set
_NOT_AFTER = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # RFC 5280, 4.1.2.5: "no well-defined expiration date"


class TlsContexts(NamedTuple):
    """What to listen with and what to dial with."""

    server: ssl.SSLContext
    client: ssl.SSLContext


def contexts_from_secret(secret: bytes, cluster: ClusterId) -> TlsContexts:
    """TLS 1.3 contexts, mutual, for the holders of `secret` in `cluster`. Dial with `server_hostname=SERVER_NAME`.

    Each call draws a new leaf key. Raises `ConfigError` for an empty secret, where `cryptography` is missing, and where
    no temporary file can be written: `ssl` takes keys from files only.
    """
    if not secret:
        raise ConfigError("secret is empty, so it keeps nobody out; give every node the same 16 random bytes or more")
    try:
        authority_key, authority = _authority(secret, cluster)
    except ImportError as error:
        raise ConfigError(
            f"TLS from a secret needs the package cryptography ({error}); pip install 'covey[tls]', "
            "or give ssl contexts of your own, or allow plaintext with insecure=True"
        ) from error
    from cryptography.hazmat.primitives.serialization import Encoding

    contexts = TlsContexts(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    for context in contexts:
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.verify_mode = ssl.CERT_REQUIRED
        context.verify_flags |= ssl.VERIFY_X509_STRICT  # the default from 3.13 on; so all versions behave alike
        context.load_verify_locations(cadata=authority.public_bytes(Encoding.DER))
    contexts.server.num_tickets = 0  # links last: a ticket would be sent for nothing
    _load_leaf(contexts, authority_key, authority)
    return contexts


def _authority(secret: bytes, cluster: ClusterId) -> tuple[Ed25519PrivateKey, x509.Certificate]:
    """The cluster's certificate authority: the same from the same arguments, since Ed25519 signs deterministically."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    seed = HKDF(algorithm=SHA256(), length=32, salt=cluster, info=_KEY_LABEL).derive(secret)
    key = Ed25519PrivateKey.from_private_bytes(seed)
    certificate = (
        _builder(_AUTHORITY_NAME, key, _AUTHORITY_SERIAL, authority=True)
        .issuer_name(_name(_AUTHORITY_NAME))
        .sign(key, algorithm=None)
    )
    return key, certificate


def _load_leaf(contexts: TlsContexts, authority_key: Ed25519PrivateKey, authority: x509.Certificate) -> None:
    """Draw a key, certify it and give both to the contexts.

    They pass through a file, for `load_cert_chain` takes nothing else. It is the user's alone and gone at once; a
    process killed in between leaves a key that is encrypted under a password nobody has.
    """
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, PrivateFormat
    from cryptography.x509.oid import ExtendedKeyUsageOID

    key = Ed25519PrivateKey.generate()
    usages = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
    certificate = (
        _builder(SERVER_NAME, key, x509.random_serial_number(), authority=False)
        .issuer_name(authority.subject)
        .add_extension(x509.ExtendedKeyUsage(usages), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(SERVER_NAME)]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
        .sign(authority_key, algorithm=None)
    )
    password = secrets.token_hex(32)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(password.encode()))
    path = ""
    try:
        handle, path = tempfile.mkstemp(prefix="covey-", suffix=".pem")  # mode 0600
        with os.fdopen(handle, "wb") as file:
            file.write(pem + certificate.public_bytes(Encoding.PEM))
        for context in contexts:
            context.load_cert_chain(path, password=password)
    except ssl.SSLError:
        raise  # an OSError too, but no fault of the disk
    except OSError as error:
        raise ConfigError(
            f"TLS from a secret needs a temporary file for a moment ({error}); set TMPDIR to a folder that takes one"
        ) from error
    finally:
        if path:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def _builder(name: str, key: Ed25519PrivateKey, serial: int, *, authority: bool) -> x509.CertificateBuilder:
    """What both kinds of certificate have: all but the issuer, in the strict form that RFC 5280 asks for."""
    from cryptography import x509

    usage = x509.KeyUsage(
        digital_signature=not authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=authority,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    return (
        x509.CertificateBuilder()
        .subject_name(_name(name))
        .public_key(key.public_key())
        .serial_number(serial)
        .not_valid_before(_NOT_BEFORE)
        .not_valid_after(_NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=0 if authority else None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
    )


def _name(common_name: str) -> x509.Name:
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
