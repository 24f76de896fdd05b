"""TLS from a secret: who holds it gets in, over real sockets; nobody else does, whichever side he is on."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import ssl
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from covey.core.errors import ConfigError
from covey.core.ids import cluster_id
from covey.runtime.transport import tls
from covey.runtime.transport.tls import SERVER_NAME, contexts_from_secret

SECRET = bytes(range(32))
CLUSTER = cluster_id("orders")
REFUSED = (ssl.SSLError, ConnectionError)  # whoever hears of it second may only see the connection go


# --- over loopback --------------------------------------------------------------------------------------------------


async def open_end(sock, **options):
    """A stream over `sock`, on either side of TLS; raises what the handshake raises."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader()
    protocol = asyncio.StreamReaderProtocol(reader)
    if "server_hostname" in options:
        transport, _ = await loop.create_connection(lambda: protocol, sock=sock, **options)
    else:
        transport, _ = await loop.connect_accepted_socket(lambda: protocol, sock, **options)
    return reader, asyncio.StreamWriter(transport, protocol, reader, loop)


@contextlib.asynccontextmanager
async def connection() -> AsyncIterator[tuple[socket.socket, socket.socket]]:
    """The accepted and the dialling socket of one connection over 127.0.0.1."""
    loop = asyncio.get_running_loop()
    with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as dialling:
        listening.setblocking(False)
        dialling.setblocking(False)
        await loop.sock_connect(dialling, listening.getsockname())
        accepted, _ = await loop.sock_accept(listening)
        with accepted:
            yield accepted, dialling


@contextlib.asynccontextmanager
async def meeting(server_options, client_options) -> AsyncIterator[tuple[Any, Any]]:
    """Both ends of one connection: each `(reader, writer)`, or the error it ended with."""
    async with connection() as (accepted, dialling):
        ends = await asyncio.gather(
            open_end(accepted, **server_options), open_end(dialling, **client_options), return_exceptions=True
        )
        try:
            yield ends
        finally:
            for end in ends:
                if isinstance(end, tuple):
                    end[1].transport.abort()
                    with contextlib.suppress(OSError):
                        await end[1].wait_closed()


def with_tls(contexts):
    return {"ssl": contexts.server}, {"ssl": contexts.client, "server_hostname": SERVER_NAME}


async def test_two_processes_with_the_same_secret_talk_both_ways():
    one, other = contexts_from_secret(SECRET, CLUSTER), contexts_from_secret(SECRET, CLUSTER)
    async with meeting(with_tls(one)[0], with_tls(other)[1]) as ends:
        (server_reader, server_writer), (client_reader, client_writer) = ends
        client_writer.write(b"to the server")
        server_writer.write(b"to the client")
        assert await server_reader.readexactly(13) == b"to the server"
        assert await client_reader.readexactly(13) == b"to the client"
        sessions = [writer.get_extra_info("ssl_object") for writer in (server_writer, client_writer)]
        assert {session.version() for session in sessions} == {"TLSv1.3"}
        assert {session.getpeercert()["subjectAltName"] for session in sessions} == {(("DNS", SERVER_NAME),)}
        assert len({session.getpeercert()["serialNumber"] for session in sessions}) == 2  # each has a leaf of its own


@pytest.mark.parametrize("stranger", [(bytes(32), CLUSTER), (SECRET, cluster_id("billing"))], ids=["secret", "cluster"])
async def test_a_stranger_is_refused_and_both_ends_learn_it(stranger):
    ours, theirs = contexts_from_secret(SECRET, CLUSTER), contexts_from_secret(*stranger)
    async with meeting(with_tls(ours)[0], with_tls(theirs)[1]) as ends:
        assert isinstance(ends[0], REFUSED)
        assert isinstance(ends[1], ssl.SSLCertVerificationError)
    async with meeting(with_tls(theirs)[0], with_tls(ours)[1]) as ends:
        assert isinstance(ends[0], REFUSED)
        assert isinstance(ends[1], ssl.SSLCertVerificationError)


async def test_a_client_without_tls_is_refused_and_sees_the_connection_end():
    server_options, _ = with_tls(contexts_from_secret(SECRET, CLUSTER))
    loop = asyncio.get_running_loop()
    async with connection() as (accepted, dialling):
        await loop.sock_sendall(dialling, b"hello, this is not TLS at all\n")
        with pytest.raises(ssl.SSLError):
            await open_end(accepted, **server_options)
        with contextlib.suppress(ConnectionError):
            while await loop.sock_recv(dialling, 4096):  # a TLS alert, perhaps
                pass


async def test_a_server_without_tls_is_refused():
    _, client_options = with_tls(contexts_from_secret(SECRET, CLUSTER))
    loop = asyncio.get_running_loop()
    async with connection() as (accepted, dialling):
        await loop.sock_sendall(accepted, b"SSH-2.0-OpenSSH_9.2\r\n")
        with pytest.raises(ssl.SSLError):
            await open_end(dialling, **client_options)


# --- in memory ------------------------------------------------------------------------------------------------------


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext, name: str = SERVER_NAME) -> list[str]:
    """How the server's and the client's side of a session end: "open", or the name of the error and its reason.

    In TLS 1.3 the client is done before its own certificate is looked at, so each side also reads once.
    """
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=name),
    ]
    outcomes = ["open", "open"]
    for _ in range(4):  # more than the flights of a handshake
        for number, side in enumerate(sides):
            if outcomes[number] == "open":
                try:
                    side.do_handshake()
                    side.read(1)
                except ssl.SSLWantReadError:
                    pass
                except ssl.SSLError as error:
                    outcomes[number] = error.reason or type(error).__name__
    return outcomes


def anybody(
    authority_key: Ed25519PrivateKey | None = None, *, issuer: str = "covey cluster authority"
) -> ssl.SSLContext:
    """A client who trusts every server and shows a leaf that lacks the Authority Key Identifier, or none."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if authority_key is not None:
        key = Ed25519PrivateKey.generate()
        builder = tls._builder("covey.internal", key, 7, authority=False).issuer_name(tls._name(issuer))
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        pem += builder.sign(authority_key, algorithm=None).public_bytes(Encoding.PEM)
        with tempfile.NamedTemporaryFile() as file:
            file.write(pem)
            file.flush()
            context.load_cert_chain(file.name)
    return context


def test_the_server_itself_refuses_a_client_without_a_certificate_of_its_authority():
    server, client = contexts_from_secret(SECRET, CLUSTER)
    assert shake_hands(server, client) == ["open", "open"]
    assert shake_hands(server, anybody())[0] == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    assert shake_hands(server, anybody(Ed25519PrivateKey.generate()))[0] == "CERTIFICATE_VERIFY_FAILED"
    assert shake_hands(server, anybody(Ed25519PrivateKey.generate(), issuer="x"))[0] == "CERTIFICATE_VERIFY_FAILED"


def test_chains_are_verified_strictly_on_every_python():
    contexts = contexts_from_secret(SECRET, CLUSTER)
    assert all(context.verify_flags & ssl.VERIFY_X509_STRICT for context in contexts)
    key, _ = tls._authority(SECRET, CLUSTER)
    incomplete = anybody(key)  # signed with the right key
    assert shake_hands(contexts.server, incomplete)[0] == "CERTIFICATE_VERIFY_FAILED"
    contexts.server.verify_flags &= ~ssl.VERIFY_X509_STRICT
    assert shake_hands(contexts.server, incomplete)[0] == "open"


def test_the_client_checks_the_name():
    contexts = contexts_from_secret(SECRET, CLUSTER)
    assert shake_hands(contexts.server, contexts.client, "elsewhere.internal")[1] == "CERTIFICATE_VERIFY_FAILED"


def test_only_tls_1_3_is_spoken():
    contexts = contexts_from_secret(SECRET, CLUSTER)
    contexts.client.minimum_version = contexts.client.maximum_version = ssl.TLSVersion.TLSv1_2
    assert shake_hands(contexts.server, contexts.client)[0] == "UNSUPPORTED_PROTOCOL"


# --- certificates ---------------------------------------------------------------------------------------------------


def authority_of(context: ssl.SSLContext) -> x509.Certificate:
    (authority,) = context.get_ca_certs(binary_form=True)
    return x509.load_der_x509_certificate(authority)


def test_the_authority_is_a_function_of_secret_and_cluster():
    def authority(secret, cluster):
        return authority_of(contexts_from_secret(secret, cluster).client)

    first = authority(SECRET, CLUSTER)
    assert first == authority(SECRET, CLUSTER)
    assert first.public_key() != authority(SECRET, cluster_id("billing")).public_key()
    assert first.public_key() != authority(bytes(32), CLUSTER).public_key()


def test_the_authority_stays_the_same_in_every_release():
    key = authority_of(contexts_from_secret(SECRET, CLUSTER).client).public_key()
    assert (
        key.public_bytes(Encoding.Raw, PublicFormat.Raw).hex()
        == "5b7ddef72e61f84303ef63d6bc0a7bfef3ce159a290f1ca74cff2e874155926f"
    )


def test_the_authority_has_fixed_dates_and_what_strict_verification_asks_for():
    authority = authority_of(contexts_from_secret(SECRET, CLUSTER).server)
    extensions = authority.extensions
    assert (authority.not_valid_before_utc.year, authority.not_valid_after_utc.year) == (1970, 9999)
    constraints = extensions.get_extension_for_class(x509.BasicConstraints)
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    assert constraints.critical
    assert usage.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert usage.value.key_cert_sign
    assert extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value.digest


# --- what it needs --------------------------------------------------------------------------------------------------


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def test_the_leaf_passes_through_a_private_encrypted_file_that_is_gone_at_once(temporary, monkeypatch):
    seen = []
    load = ssl.SSLContext.load_cert_chain

    def look_and_load(context, path, *args, **kwargs):
        with open(path) as file:
            seen.append((os.stat(path).st_mode & 0o777, file.readline().strip()))
        load(context, path, *args, **kwargs)

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", look_and_load)
    contexts_from_secret(SECRET, CLUSTER)
    assert seen == [(0o600, "-----BEGIN ENCRYPTED PRIVATE KEY-----")] * 2
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize("error, raised", [(ssl.SSLError("no"), ssl.SSLError), (OSError("no"), ConfigError)])
def test_the_file_is_gone_after_an_error_too(temporary, monkeypatch, error, raised):
    def refuse(context, path, *args, **kwargs):
        assert os.path.exists(path)
        raise error

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", refuse)
    with pytest.raises(raised):
        contexts_from_secret(SECRET, CLUSTER)
    assert list(temporary.iterdir()) == []


def test_where_no_file_can_be_written_the_error_names_tmpdir(temporary, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "missing"))
    with pytest.raises(ConfigError, match="set TMPDIR"):
        contexts_from_secret(SECRET, CLUSTER)


def test_without_cryptography_the_error_names_the_extra_and_the_ways_around_it(monkeypatch):
    for module in [name for name in sys.modules if name.partition(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(ConfigError) as caught:
        contexts_from_secret(SECRET, CLUSTER)
    for fix in ("pip install 'covey[tls]'", "ssl contexts of your own", "insecure=True"):
        assert fix in str(caught.value)


def test_cryptography_is_imported_only_when_it_is_needed():
    code = "import sys, covey.runtime.transport.tls; sys.exit('cryptography' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)})


def test_an_empty_secret_is_refused():
    with pytest.raises(ConfigError, match="16 random bytes"):
        contexts_from_secret(b"", CLUSTER)
