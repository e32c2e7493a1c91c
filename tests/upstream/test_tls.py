"""Which certificates are believed, proven against real handshakes."""

import asyncio
import datetime
import os
import ssl
import sys

import pytest
import trustme

from kiroproxy.errors import ConfigError
from kiroproxy.upstream import tls

BACKENDS = ("rustls", "native-tls", "native-tls by truststore")


@pytest.fixture(params=BACKENDS)
def build(request, monkeypatch):
    """Build a context; the third form is what macOS and Windows run, on this system's files."""
    monkeypatch.setattr(tls, "_HAS_SYSTEM_VERIFIER", request.param.endswith("truststore"))
    return lambda environ: tls.build_context(request.param.split()[0], environ)


@pytest.fixture
def trust(tmp_path, authority):
    """Return an environment in which SSL_CERT_FILE adds the private authority."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return {"SSL_CERT_FILE": str(tmp_path / "ca.pem")}


async def silent(peer, reader, writer) -> None:
    await reader.read()


def presenting(certificate: trustme.LeafCert, *protocols: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    context.set_alpn_protocols(list(protocols or ("http/1.1",)))
    return context


async def handshake(peer, context: ssl.SSLContext) -> ssl.SSLObject:
    _, writer = await asyncio.open_connection(
        "localhost", peer.port, ssl=context, server_hostname="localhost"
    )
    session = writer.get_extra_info("ssl_object")
    writer.close()
    await writer.wait_closed()
    return session


async def test_private_authority_is_believed_once_it_is_added(serve, build, trust, server_tls):
    peer = await serve(silent, tls=server_tls)
    session = await handshake(peer, build(trust))
    assert session.version() in ("TLSv1.2", "TLSv1.3")


async def test_private_authority_is_found_in_a_directory_without_hashes(
    serve, build, tmp_path, trust, server_tls
):
    (tmp_path / "README").write_text("not a certificate")
    peer = await serve(silent, tls=server_tls)
    await handshake(peer, build({"SSL_CERT_DIR": f"{tmp_path}{os.pathsep}"}))


async def test_private_authority_is_found_in_a_directory_by_its_hash(
    serve, build, tmp_path, trust, server_tls
):
    """Only the link's target has a certificate: what is found by hash need not be read."""
    folder = tmp_path / "hashed"
    folder.mkdir()
    (folder / "authority.pem").write_bytes((tmp_path / "ca.pem").read_bytes())
    rehash = await asyncio.create_subprocess_exec("openssl", "rehash", str(folder))
    assert await rehash.wait() == 0
    assert len(list(folder.iterdir())) == 2
    peer = await serve(silent, tls=server_tls)
    await handshake(peer, build({"SSL_CERT_DIR": str(folder)}))


async def test_untrusted_certificate_is_refused(serve, build, server_tls):
    peer = await serve(silent, tls=server_tls)
    with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer"):
        await handshake(peer, build({}))


async def test_certificate_for_another_host_is_refused(serve, build, trust, authority):
    peer = await serve(silent, tls=presenting(authority.issue_cert("other.example")))
    with pytest.raises(ssl.SSLCertVerificationError, match="localhost"):
        await handshake(peer, build(trust))


async def test_expired_certificate_is_refused(serve, build, trust, authority):
    yesterday = datetime.datetime.now(datetime.UTC) - datetime.timedelta(days=1)
    expired = authority.issue_cert("localhost", not_after=yesterday)
    peer = await serve(silent, tls=presenting(expired))
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        await handshake(peer, build(trust))


async def test_http_1_1_is_negotiated_with_a_peer_that_prefers_another(
    serve, build, trust, authority
):
    leaf = authority.issue_cert("localhost")
    peer = await serve(silent, tls=presenting(leaf, "h2", "http/1.1"))
    assert (await handshake(peer, build(trust))).selected_alpn_protocol() == "http/1.1"


def test_context_checks_names_and_refuses_old_versions(build):
    context = build({})
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.minimum_version >= ssl.TLSVersion.TLSv1_2


def test_bundled_roots_belong_to_rustls_only(monkeypatch):
    monkeypatch.setattr(tls, "_add_machine_roots", lambda context, known: None)
    assert len(tls.build_context("rustls", {}).get_ca_certs()) > 50
    assert tls.build_context("native-tls", {}).get_ca_certs() == []


@pytest.mark.parametrize(
    "environ",
    [{"SSL_CERT_FILE": "/nowhere.pem"}, {"SSL_CERT_FILE": __file__}, {"SSL_CERT_DIR": "/nowhere"}],
)
def test_named_root_that_cannot_be_read_stops_the_start(build, environ):
    with pytest.raises(ConfigError) as caught:
        build(environ)
    assert caught.value.key in environ


CLIENT = """
import socket, ssl, sys
from kiroproxy.upstream.tls import client_context
context = client_context(sys.argv[1])
assert context is client_context(sys.argv[1])
try:
    with socket.create_connection(("localhost", int(sys.argv[2]))) as plain:
        with context.wrap_socket(plain, server_hostname="localhost"):
            print("accepted")
except ssl.SSLCertVerificationError:
    print("refused")
"""


@pytest.mark.parametrize("backend", ["rustls", "native-tls"])
async def test_process_takes_its_roots_from_the_environment(serve, backend, trust, server_tls):
    peer = await serve(silent, tls=server_tls)
    for environ, outcome in ((trust, b"accepted\n"), ({}, b"refused\n")):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", CLIENT, backend, str(peer.port),
            env=environ, stdout=asyncio.subprocess.PIPE,
        )  # fmt: skip
        assert (await process.communicate())[0] == outcome
