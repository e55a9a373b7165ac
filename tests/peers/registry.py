"""Real registries (Debian's docker-registry, distribution 2.8) on loopback, and the token server they trust.

``with start_registry(tmp_path) as host:`` runs one on a free port; ``auth`` makes it ask who you are.
"""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import json
import os
import re
import signal
import subprocess
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "alice"
PASSWORD = "correct horse"
START_TIMEOUT_S = 20
STOP_TIMEOUT_S = 10
SERVICE = "test-registry"
ISSUER = "test-issuer"
_LISTENING = re.compile(r"listening on (?:127\.0\.0\.1|\[::\]|0\.0\.0\.0):(\d+)")


@dataclass(frozen=True, slots=True)
class Htpasswd:
    """Basic auth; the password file is made with apache2-utils' htpasswd (bcrypt, its cheapest cost)."""

    user: str = USER
    password: str = PASSWORD

    def config(self, folder: Path) -> dict[str, object]:
        path = folder / "htpasswd"
        command = ["htpasswd", "-Bbn", "-C", "4", self.user, self.password]
        path.write_bytes(subprocess.run(command, capture_output=True, check=True).stdout)
        return {"htpasswd": {"realm": "test", "path": str(path)}}


class TokenServer:
    """The token server of distribution's specification, with JWTs that distribution 2.8 accepts.

    Everybody may pull repositories whose name begins with ``public/``; ``USER`` may do everything;
    ``USER`` also gets in with the refresh token ``REFRESH``. ``requests`` records the queries.
    """

    REFRESH = "refresh-me"

    def __init__(self) -> None:
        self.requests: list[dict[str, list[str]]] = []
        self.token_seconds = 300
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._certificate = _self_signed(self._key)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))

    @property
    def realm(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/token"

    def config(self, folder: Path) -> dict[str, object]:
        bundle = folder / "bundle.pem"
        bundle.write_bytes(self._certificate.public_bytes(serialization.Encoding.PEM))
        token = {"realm": self.realm, "service": SERVICE, "issuer": ISSUER, "rootcertbundle": str(bundle)}
        return {"token": token}

    def token(self, scopes: list[str], *, known: bool) -> str:
        """A JWT for what of ``scopes`` is allowed (distribution's token specification, "jwt")."""
        access = []
        for scope in scopes:
            kind, _, rest = scope.partition(":")
            name, _, actions = rest.rpartition(":")  # a GUN has a port
            allowed = actions.split(",") if known else ["pull"] if name.startswith("public/") else []
            access.append({"type": kind, "name": name, "actions": [a for a in actions.split(",") if a in allowed]})
        now = int(time.time())
        der = self._certificate.public_bytes(serialization.Encoding.DER)
        header = {"typ": "JWT", "alg": "RS256", "kid": _key_id(self._key), "x5c": [base64.b64encode(der).decode()]}
        claims = {
            "iss": ISSUER,
            "sub": USER if known else "",
            "aud": SERVICE,
            "exp": now + self.token_seconds,
            "nbf": now - 10,
            "iat": now,
            "jti": str(len(self.requests)),
            "access": access,
        }
        signed = f"{_b64(json.dumps(header).encode())}.{_b64(json.dumps(claims).encode())}"
        return f"{signed}.{_b64(self._key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256()))}"

    def __enter__(self) -> Self:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def _handler(tokens: TokenServer) -> type[BaseHTTPRequestHandler]:
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            given = self.headers.get("Authorization")
            query = parse_qs(urlsplit(self.path).query)
            tokens.requests.append(query)
            self._answer(query.get("scope", []), known=given == expected, allowed=given in {None, expected})

        def do_POST(self) -> None:
            form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            tokens.requests.append(form)
            right = form.get("refresh_token") == [TokenServer.REFRESH]
            self._answer(" ".join(form.get("scope", [])).split(), known=right, allowed=right)

        def _answer(self, scopes: list[str], *, known: bool, allowed: bool) -> None:
            answer = {"access_token": tokens.token(scopes, known=known), "expires_in": tokens.token_seconds}
            body = json.dumps(answer if allowed else {"details": "incorrect username or password"}).encode()
            self.send_response(200 if allowed else 401)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name in http.server
            """Tests are quiet."""

    return Handler


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _key_id(key: rsa.RSAPrivateKey) -> str:
    """libtrust's key id: the first 240 bits of the public key's sha256, base32 in groups of four."""
    encoded = key.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    text = base64.b32encode(hashlib.sha256(encoded).digest()[:30]).decode()
    return ":".join(text[start : start + 4] for start in range(0, len(text), 4))


def _self_signed(key: rsa.RSAPrivateKey) -> x509.Certificate:
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, ISSUER)])
    now = dt.datetime.now(dt.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )


@dataclass(slots=True)
class _Log:
    """The program's output; the line that names its port comes first."""

    lines: list[str] = field(default_factory=list)
    port: int = 0
    ready: threading.Event = field(default_factory=threading.Event)

    def follow(self, stream: Iterator[str]) -> None:
        for line in stream:
            self.lines.append(line)
            if (found := _LISTENING.search(line)) and not self.port:
                self.port = int(found.group(1))
                self.ready.set()
        self.ready.set()


@contextmanager
def start_registry(
    tmp_path: Path,
    *,
    auth: Htpasswd | TokenServer | None = None,
    delete: bool = True,
    access_log: Path | None = None,
) -> Iterator[str]:
    """Run a registry that keeps its data under ``tmp_path``; gives ``localhost:PORT``.

    ``access_log`` gets a line for each request.
    """
    data = tmp_path / "registry"
    data.mkdir(parents=True)
    config: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "info", "accesslog": {"disabled": access_log is None}},
        "storage": {
            "filesystem": {"rootdirectory": str(data)},
            "delete": {"enabled": delete},
            "maintenance": {"uploadpurging": {"enabled": False}},
        },
        "http": {"addr": "127.0.0.1:0"},
        **({"auth": auth.config(tmp_path)} if auth else {}),
    }
    path = tmp_path / "registry.json"
    path.write_text(json.dumps(config))  # YAML's subset
    with Path(access_log or os.devnull).open("w") as requests:
        process = subprocess.Popen(
            ["docker-registry", "serve", str(path)], stdout=requests, stderr=subprocess.PIPE, text=True
        )
    log = _Log()
    assert process.stderr is not None
    reader = threading.Thread(target=log.follow, args=(process.stderr,), daemon=True)
    reader.start()
    try:
        log.ready.wait(START_TIMEOUT_S)
        assert log.port, "docker-registry did not start:\n" + "".join(log.lines)
        yield f"localhost:{log.port}"
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        reader.join()
        process.stderr.close()
