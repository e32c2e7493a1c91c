"""The TLS client context: which roots are trusted, and what a peer has to prove.

Rules of this file: certificates and host names are always checked; there is no switch that
turns it off. A root can only be added, by the operator, through SSL_CERT_FILE and
SSL_CERT_DIR.

Theory of operation. `rustls` names the reference's behaviour, not its library: the bundled
Mozilla roots plus the CAs that the machine's owner installed. `native-tls` asks the operating
system alone: on macOS and Windows through `truststore`, which hands the chain to the system's
verifier; elsewhere the system's store is a set of files, and truststore would read them again
for every handshake (35 ms each, on the event loop), so they are read here, once.

Source: requirements of `tlsBackend`; truststore 0.10 `_openssl.py` for the file locations.
"""

import contextlib
import functools
import os
import re
import ssl
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TypeAlias

import certifi
import truststore

from kiroproxy.errors import ConfigError

_File: TypeAlias = tuple[int, int]  # device and inode: the same under every name

# Where distributions keep the bundle that their CA tool writes, local CAs included. OpenSSL's
# own compiled-in path is asked first; these stand in when it names nothing (manylinux builds).
_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Alpine, Arch
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora, RHEL
    "/etc/pki/tls/certs/ca-bundle.crt",  # older RHEL
    "/etc/ssl/ca-bundle.pem",  # SUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS, BSD
)
_HASHED = re.compile(r"[0-9a-f]{8}\.[0-9]+")  # as c_rehash and update-ca-certificates name them
_HAS_SYSTEM_VERIFIER = sys.platform in ("darwin", "win32")


@functools.cache
def client_context(tls_backend: str) -> ssl.SSLContext:
    """Return the process's context for a `tlsBackend` value.

    Raises: ConfigError — SSL_CERT_FILE or SSL_CERT_DIR cannot be read.
    Cost: 30-60 ms for the first call of a backend, nothing after it.
    """
    return build_context(tls_backend, os.environ)


def build_context(tls_backend: str, environ: Mapping[str, str]) -> ssl.SSLContext:
    """Build a context from scratch; `client_context` is the shared one."""
    known: set[_File] = set()
    if tls_backend == "native-tls" and _HAS_SYSTEM_VERIFIER:
        context: ssl.SSLContext = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    else:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        # An intermediate that the operator names is an anchor, as in rustls and Go.
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if tls_backend == "rustls":
            context.load_verify_locations(cafile=certifi.where())
        _add_machine_roots(context, known)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    _add_operator_roots(context, environ, known)
    return context


def _add_machine_roots(context: ssl.SSLContext, known: set[_File]) -> None:
    """Add the roots of the system's default locations; a machine without any is no fault.

    Shape: `known` gets the files that need not be read again, 35 ms for a whole bundle.
    """
    if sys.platform == "win32":
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
        return
    # The openssl_* fields are the compiled-in paths; the short names would give way to
    # SSL_CERT_FILE, which here adds to the system's roots and does not replace them.
    compiled_in = ssl.get_default_verify_paths()
    for bundle in (compiled_in.openssl_cafile, *_BUNDLES):
        if Path(bundle).is_file():
            with contextlib.suppress(ssl.SSLError, OSError):
                context.load_verify_locations(cafile=bundle)
                known.add(_file(Path(bundle)))
                break
    if Path(compiled_in.openssl_capath).is_dir():
        # OpenSSL looks a subject's hash up there during a handshake: nothing is read now.
        context.load_verify_locations(capath=compiled_in.openssl_capath)


def _add_operator_roots(
    context: ssl.SSLContext, environ: Mapping[str, str], known: set[_File]
) -> None:
    file = environ.get("SSL_CERT_FILE", "")
    if file:
        try:
            if _file(Path(file)) not in known:
                context.load_verify_locations(cafile=file)
        except (OSError, ssl.SSLError) as fault:
            raise ConfigError(
                f"names {file}, which holds no readable certificates ({fault})",
                file="environment",
                key="SSL_CERT_FILE",
                remedy="Name a file of PEM certificates, or unset it",
            ) from fault
    for directory in filter(None, environ.get("SSL_CERT_DIR", "").split(os.pathsep)):
        if not Path(directory).is_dir():
            raise ConfigError(
                f"names {directory}, which is not a directory",
                file="environment",
                key="SSL_CERT_DIR",
                remedy="Name a directory of PEM certificates, or unset it",
            )
        # OpenSSL looks those up that are named by a hash, as in the system's own directory. What
        # asks the system's verifier instead has to be given every one.
        if not isinstance(context, truststore.SSLContext):
            context.load_verify_locations(capath=directory)
            known |= {_file(path) for path in _files(directory) if _HASHED.fullmatch(path.name)}
        for path in _distinct_files(directory, known):
            # A README or a private key beside the certificates is no reason not to start.
            with contextlib.suppress(OSError, ssl.SSLError):
                context.load_verify_locations(cafile=path)


def _files(directory: str) -> list[Path]:
    return [path for path in sorted(Path(directory).iterdir()) if path.is_file()]


def _file(path: Path) -> _File:
    found = path.stat()
    return found.st_dev, found.st_ino


def _distinct_files(directory: str, known: set[_File]) -> Iterator[Path]:
    """Yield each file once that is not known: `c_rehash` names every one of them twice."""
    for path in _files(directory):
        if (file := _file(path)) not in known:
            known.add(file)
            yield path
