"""Private keys that are elsewhere: on a token, in a cloud's KMS, in GnuPG. They never come here.

A URI says where; securesystemslib reaches it. What is ours: which part of the URI the import of
the public key takes (:data:`SERVICES`), the PIN asked for once a run, and one kind of error. The
libraries of a service are imported when a key of it is used, from an extra such as ``dockseal[hsm]``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeVar
from urllib.parse import parse_qsl, urlencode

from trust.errors import DocksealError, KeyUnavailableError, UsageError
from trust.keys import formats
from trust.keys.description import MAX_URI_CHARACTERS
from trust.keys.signers import GuardedSigner

if TYPE_CHECKING:
    from collections.abc import Callable

    from securesystemslib.signer import Key, SecretsHandler, Signature, Signer

    from trust.keys.description import StoredKey

T = TypeVar("T")

MAX_REASON_CHARACTERS = 300
_WRONG_PINS = frozenset({"PinIncorrect", "PinInvalid", "PinLenRange"})
_REASONS = {  # python-pkcs11's errors have names and mostly no text
    "PinIncorrect": "wrong PIN",
    "PinInvalid": "wrong PIN",
    "PinLenRange": "wrong PIN",
    "PinLocked": "the PIN is locked after too many wrong ones",
    "TokenNotPresent": "the token is not there",
    "DeviceRemoved": "the token was removed",
    "TimeoutExpired": "no answer in time",
}


class Pins(Protocol):
    """Where a token's PIN comes from: the environment, a prompt."""

    def pin(self, token: str) -> str:
        """The PIN of this token."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """The parts of a URI behind its scheme, and what answers for secrets there."""

    path: str
    query: dict[str, str]
    ask: SecretsHandler


@dataclass(frozen=True, slots=True)
class Service:
    """A place where keys are.

    ``extra`` is dockseal's, if one is needed. ``arguments`` are those of securesystemslib's ``import_``.
    ``form`` shows a URI, ``help`` the way out. ``has_pin``: every signature needs a PIN.
    """

    extra: str | None
    arguments: Callable[[Place], tuple[Any, ...]]
    form: str
    help: str
    has_pin: bool = False


SERVICES: dict[str, Service] = {
    "hsm": Service(
        "hsm",
        lambda at: (int(at.path) if at.path else None, at.query.get("label"), at.ask),
        "hsm:KEYID?label=TOKEN",
        "is the token in, and does PYKCS11LIB name its PKCS#11 library? See it with pkcs11-tool --list-objects",
        has_pin=True,
    ),
    "gnupg": Service(
        None,
        lambda at: (f"gnupg:{at.path}?{urlencode(at.query)}",),
        "gnupg:FINGERPRINT",
        "gpg --list-secret-keys --with-subkey-fingerprint shows the keys; "
        "the fingerprint is that of the key or subkey that signs, and gpg's agent must have its passphrase",
    ),
    "awskms": Service(
        "aws",
        lambda at: (at.path,),
        "awskms:KEY-ID",
        "credentials are those of the AWS SDK; they need kms:GetPublicKey and kms:Sign",
    ),
    "gcpkms": Service(
        "gcp",
        lambda at: (at.path,),
        "gcpkms:projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V",
        "credentials are Google's default ones; they need cloudkms.publicKeyViewer and cloudkms.signer",
    ),
    "azurekms": Service(
        "azure",
        lambda at: _azure(at.path),
        "azurekms://VAULT.vault.azure.net/keys/KEY",
        "credentials are Azure's default ones; they need the role Key Vault Crypto User",
    ),
    "hv": Service(
        "vault",
        lambda at: (at.path.partition("/")[0],),
        "hv:KEY",
        "VAULT_ADDR and VAULT_TOKEN say where and who; the token needs the transit engine's keys and sign",
    ),
}
_NEWEST_ONLY = frozenset({"azurekms", "hv"})
"""Where ``import_`` takes the newest version, whatever the URI says."""


class Secrets:
    """Asks once for each token, and never shows a token a PIN that it has refused: tokens lock after a few.

    Args:
        pins: where PINs come from; None where nobody can be asked.
    """

    def __init__(self, pins: Pins | None) -> None:
        self._pins = pins
        self._known: dict[str, str] = {}
        self._refused: set[str] = set()

    def handler(self, uri: str) -> SecretsHandler:
        """What a signer asks for its secret; PINs are the only ones."""
        token = _token(uri)

        def secret(_name: str) -> str:
            if token in self._refused:
                raise KeyUnavailableError(f"{token} refused this PIN before: it is not tried again in this run")
            if self._pins is None:
                raise KeyUnavailableError(f"{token} needs its PIN, and nobody can be asked here")
            if token not in self._known:
                self._known[token] = self._pins.pin(token)
            return self._known[token]

        return secret

    def refuse(self, uri: str) -> None:
        """Remember that this token's PIN was wrong."""
        self._refused.add(_token(uri))


@dataclass(frozen=True, slots=True)
class Guard:
    """Runs what a service's library does, and lets out our errors only."""

    uri: str
    secrets: Secrets

    def run(self, what: str, action: Callable[[], T]) -> T:
        """Do it.

        Args:
            what: what has failed if it fails, for the message.
            action: calls the library.

        Raises:
            DocksealError: one of ours, from a PIN that nobody can give.
            KeyUnavailableError: anything else, with the reason that the library gives and a way out.
        """
        try:
            return action()
        except DocksealError:
            raise
        except Exception as error:  # a service may run anything: a driver, a program, a cloud's client
            name = type(error).__name__
            if name in _WRONG_PINS:
                self.secrets.refuse(self.uri)
            raise KeyUnavailableError(f"{what}: {_reason(error)}", hint=self._hint(name)) from error

    def _hint(self, name: str) -> str:
        service = service_of(self.uri)
        if name == "UnsupportedLibraryError" and service.extra is not None:
            return f"pip install 'dockseal[{service.extra}]'"
        if name in _WRONG_PINS:
            return "run the command again with the right PIN; a token locks after a few wrong ones"
        return service.help


class RemoteSigner(GuardedSigner):
    """Signs elsewhere, and sees that what came back is the signature asked for.

    Args:
        inner: securesystemslib's signer.
        key: which key it is.
        guard: the guard of its URI.
    """

    def __init__(self, inner: Signer, key: StoredKey, guard: Guard) -> None:
        super().__init__(inner, key.label)
        self._key = key
        self._guard = guard

    def sign(self, payload: bytes) -> Signature:
        """Sign bytes.

        Raises:
            KeyUnavailableError: the service did not sign, or signed with another key than the one that was added.
        """
        name = f"the key {self._key.label!r} ({self._key.short})"
        signature = self._guard.run(f"{name} could not sign", lambda: self._inner.sign(payload))
        self._guard.run(
            f"{self._guard.uri} is another key than {name} by now",
            lambda: self.public_key.verify_signature(signature, payload),
        )
        return signature


def service_of(uri: str) -> Service:
    """The service that a URI belongs to.

    Raises:
        UsageError: no such kind.
    """
    service = SERVICES.get(uri.partition(":")[0])
    if service is None or ":" not in uri:
        raise UsageError(
            f"no such kind of key URI {uri[:120]!r}: expected {', '.join(each.form for each in SERVICES.values())}"
        )
    if not uri.isprintable() or len(uri) > MAX_URI_CHARACTERS:
        raise UsageError(
            f"the URI {uri[:40]!r}... is not usable: expected at most {MAX_URI_CHARACTERS} plain characters"
        )
    return service


def fetch(uri: str, secrets: Secrets) -> tuple[str, Key]:
    """Ask a service for a public key.

    Returns:
        The URI that will sign, with what the service adds to it (a token's label, a key's version), and the key.

    Raises:
        UsageError: no such kind of URI, or a kind of key that is not used here.
        KeyUnavailableError: the service is not there, or denies.
    """
    from securesystemslib.signer import SIGNER_FOR_URI_SCHEME

    service = service_of(uri)
    scheme, _, rest = uri.partition(":")
    path, _, text = rest.partition("?")
    try:
        arguments = service.arguments(Place(path, dict(parse_qsl(text)), secrets.handler(uri)))
    except ValueError as error:
        raise UsageError(f"the URI {uri!r} is malformed: expected {service.form}") from error
    signer: Any = SIGNER_FOR_URI_SCHEME[scheme]
    found, key = Guard(uri, secrets).run(f"{uri} gave no public key", lambda: signer.import_(*arguments))
    if scheme in _NEWEST_ONLY and not found.startswith(uri):
        raise UsageError(f"{uri} is not the key's newest version: expected {found}")
    try:
        return found, formats.usual_spelling(key, "the key")
    except DocksealError as error:
        raise UsageError(f"{uri} cannot be used: {error.message}") from error


def open_signer(key: StoredKey, secrets: Secrets) -> Signer:
    """What signs with a key that is elsewhere. A PIN is asked for now: later, progress may be on the screen.

    Raises:
        KeyUnavailableError: its library is missing, the URI does not fit, or nobody can give the PIN.
    """
    from securesystemslib.signer import Signer

    uri = key.uri or ""
    guard = Guard(uri, secrets)
    if service_of(uri).has_pin:
        secrets.handler(uri)("pin")
    inner = guard.run(
        f"the key {key.label!r} ({key.short}) cannot be used",
        lambda: Signer.from_priv_key_uri(uri, key.public, secrets.handler(uri)),
    )
    return RemoteSigner(inner, key, guard)


def _token(uri: str) -> str:
    """What a PIN belongs to: all keys on one token share it."""
    scheme, _, rest = uri.partition(":")
    label = dict(parse_qsl(rest.partition("?")[2])).get("label")
    return f"the token {label!r}" if label else f"the token of {scheme}:"


def _reason(error: Exception) -> str:
    name = type(error).__name__
    text = " ".join(str(error).split())
    reason = _REASONS.get(name) or (f"{name}: {text}" if text else name)
    return reason if len(reason) <= MAX_REASON_CHARACTERS else f"{reason[:MAX_REASON_CHARACTERS]}..."


def _azure(path: str) -> tuple[str, str]:
    """``//VAULT.vault.azure.net/keys/KEY[/VERSION]``: the vault and the key."""
    host, keys, name = path.removeprefix("//").split("/")[:3]
    if keys != "keys" or not host.endswith(".vault.azure.net"):
        raise ValueError(path)
    return host.removesuffix(".vault.azure.net"), name
