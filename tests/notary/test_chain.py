"""From a root to a tag: what verifies, and every way in which it must not."""

from __future__ import annotations

import datetime as dt
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives import hashes

from tests.notary.repos import (
    GUN,
    LATER,
    NOW,
    V1,
    V2,
    VECTORS_GUN,
    VECTORS_NOW,
    Files,
    Repo,
    certificate,
    ed_key,
    key,
    plain,
    rsa_key,
    sign,
    signature,
    vectors,
)
from trust.errors import (
    DocksealError,
    ExpiredError,
    RollbackError,
    TamperedError,
    UnsignedError,
    UntrustedRootError,
)
from trust.notary import certificates, chain, reader
from trust.notary.codec import decode
from trust.notary.model import RELEASES, ROOT, SNAPSHOT, TARGETS, TIMESTAMP, Delegation, Meta, Role, Targets, meta_of
from trust.notary.publickeys import PublicKey, common_name, der_signature, from_crypto
from trust.notary.reader import Seen

if TYPE_CHECKING:
    from trust.notary.chain import Repository

AGO = NOW - dt.timedelta(days=1)
ROLES = (ROOT, TIMESTAMP, SNAPSHOT, TARGETS, RELEASES)


def anyone(_root: object) -> bool:
    return True


def nobody(_root: object) -> bool:
    return False


def read(files: Files, *, seen: Seen | None = None, now: dt.datetime | None = NOW, gun: str = GUN) -> Repository:
    return reader.read(files, gun, seen, anyone if seen is None else nobody, now)


def seen(files: Files) -> Seen:
    found = read(files)
    return Seen(found.root, found.versions)


def test_what_the_real_server_served_verifies() -> None:
    found = read(vectors(), now=VECTORS_NOW, gun=VECTORS_GUN)
    assert found.versions == {
        "root": 3,
        "timestamp": 6,
        "snapshot": 7,
        "targets": 3,
        "targets/releases": 2,
        "targets/alice": 1,
    }
    assert [(item.tag, item.meta.sha256.hex()[:12], item.meta.length, item.role) for item in found.tags()] == [
        ("v1", "2d711642b726", 528, RELEASES),
        ("v2", "a1fce4363854", 1024, RELEASES),
    ]
    assert found.signers_of("v1") == ("targets/releases", "targets/alice")
    assert found.skipped == {}


def test_its_roots_are_followed_from_the_first_one() -> None:
    files = vectors()
    first = chain.read_root(files.roots[1])
    found = read(files, seen=Seen(first, {"root": 1}), now=VECTORS_NOW, gun=VECTORS_GUN)
    assert found.root.payload.version == 3
    assert "2.root" in files.asked


def test_it_expires_when_its_timestamp_does() -> None:
    with pytest.raises(ExpiredError) as caught:
        read(vectors(), now=VECTORS_NOW + dt.timedelta(days=14), gun=VECTORS_GUN)
    assert "timestamp.json expired 2026-12-07" in caught.value.message


def test_a_takeover_may_look_past_expiry() -> None:
    assert read(vectors(), now=None, gun=VECTORS_GUN).lookup("v1") is not None


def cut(data: bytes) -> bytes:
    return data[:-1]


def retyped(data: bytes) -> bytes:
    return data.replace(b'"_type":"', b'"_type":"X', 1)


def other_hash(meta: Meta) -> Meta:
    return replace(meta, hashes={**meta.hashes, "sha256": bytes(32)})


def longer(meta: Meta) -> Meta:
    return replace(meta, length=meta.length + 1)


def older(payload: Any) -> Any:
    return replace(payload, version=payload.version - 1)


def repo() -> Repo:
    """At its second root, so that there is an older one."""
    return Repo(root_version=2)


def corrupted(role: str, way: str) -> Repo:
    """A repository in which one role's file is wrong, and whatever hangs on it fits the wrong file."""
    return {
        "bad JSON": repo().but(raw={role: cut}),
        "wrong type": repo().but(raw={role: retyped}),
        "wrong signer": repo().but(signers={role: ((plain("mallory"), key("mallory")),)}),
        "a signer's id on another's signature": repo().but(signers={role: ((_public(role), key("mallory")),)}),
        "not signed": repo().but(signers={role: ()}),
        "expired": repo().but(expires={role: AGO}),
        "a version lower": repo().but(payload={role: older}),
        "missing": repo().but(missing=frozenset({role})),
        "wrong hash": repo().but(listed={role: other_hash}),
        "wrong length": repo().but(listed={role: longer}),
    }[way]


def _public(role: str) -> PublicKey:
    return repo().root_certificate if role == ROOT else plain("alice" if role == RELEASES else role)


TAMPERED = dict.fromkeys(
    (
        "bad JSON",
        "wrong type",
        "wrong signer",
        "a signer's id on another's signature",
        "not signed",
        "missing",
        "wrong hash",
        "wrong length",
    ),
    TamperedError,
)
EXPECTED: dict[str, type[DocksealError]] = {**TAMPERED, "expired": ExpiredError, "a version lower": RollbackError}
CORRUPTIONS = [
    (role, way, RollbackError if (role, way) == (ROOT, "missing") else error)
    for role in ROLES
    for way, error in EXPECTED.items()
    if not (role == TIMESTAMP and way in {"wrong hash", "wrong length"})  # nothing lists the timestamp
]


@pytest.mark.parametrize(("role", "way", "error"), CORRUPTIONS, ids=[f"{role}: {way}" for role, way, _ in CORRUPTIONS])
def test_a_role_that_is_wrong_in_one_way(role: str, way: str, error: type[DocksealError]) -> None:
    before = seen(Repo(root_version=2 if way == "a version lower" else 1).build())
    with pytest.raises(error) as caught:
        read(corrupted(role, way).build(), seen=before).lookup("v1")
    assert type(caught.value) is error
    assert role in caught.value.message or caught.value.verdict == "rollback"


def test_without_corruption_it_verifies() -> None:
    found = read(repo().build(), seen=seen(repo().build()))
    assert found.trusted_tag("v1").meta == V1
    assert found.signers_of("v2") == (RELEASES,)


@pytest.mark.parametrize("way", ["expired", "wrong signer"])
def test_a_delegation_that_docker_does_not_ask_is_skipped_with_a_reason(way: str) -> None:
    found = read(corrupted("targets/alice", way).but(signers=_mallory(way)).build())
    assert found.trusted_tag("v1").role == RELEASES
    assert list(found.skipped) == ["targets/alice"]
    assert found.signers_of("v1") == (RELEASES,)


def _mallory(way: str) -> dict[str, Any]:
    return {"targets/alice": ((plain("mallory"), key("mallory")),)} if way == "wrong signer" else {}


def test_an_expired_releases_does_not_let_an_older_targets_answer() -> None:
    found = read(Repo(expires={RELEASES: AGO}, top={"v1": V2}).build())
    with pytest.raises(ExpiredError):
        found.lookup("v1")


def test_releases_goes_before_targets_and_others_do_not_count() -> None:
    found = read(Repo(top={"v1": V2, "old": V2}, releases={"v1": V1}, alice={"mine": V1}).build())
    assert [(item.tag, item.role, item.meta) for item in found.tags()] == [
        ("old", TARGETS, V2),
        ("v1", RELEASES, V1),
    ]
    with pytest.raises(UnsignedError) as caught:
        found.trusted_tag("mine")
    assert "targets/alice alone" in caught.value.message
    with pytest.raises(UnsignedError):
        found.trusted_tag("none")


def test_a_tag_outside_of_the_prefixes_of_its_role_is_not_signed() -> None:
    found = read(Repo(paths=("v",), releases={"v1": V1, "x1": V1}).build())
    assert [item.tag for item in found.tags()] == ["v1"]


def test_a_removed_delegation_is_no_rollback_and_a_delegation_without_its_file_is() -> None:
    before = seen(Repo().build())
    after = Repo(version=4, delegations=False, top={"v1": V2}).build()
    assert read(after, seen=before).trusted_tag("v1").meta == V2

    def without(payload: Any) -> Any:
        return replace(payload, meta={name: meta for name, meta in payload.meta.items() if name != RELEASES})

    with pytest.raises(RollbackError):
        read(Repo(version=4, payload={SNAPSHOT: without}, top={"v1": V2}).build(), seen=before)


def test_a_delegation_that_was_never_signed_is_only_missing() -> None:
    def without(payload: Any) -> Any:
        return replace(payload, meta={name: meta for name, meta in payload.meta.items() if name != "targets/alice"})

    found = read(Repo(payload={SNAPSHOT: without}).build())
    assert "targets/alice" not in found.targets
    assert "targets/alice" in found.delegations


def nested(paths: tuple[str, ...]) -> Targets:
    bob = plain("bob")
    role = Role((bob.key_id,))
    return Targets(
        3,
        "2029-01-01T00:00:00Z",
        keys={bob.key_id: bob},
        delegations=(Delegation("targets/alice/bob", role, paths), Delegation("targets/other", role, paths)),
    )


def test_a_child_may_sign_no_more_than_its_parent_and_no_one_delegates_for_others() -> None:
    parent = Delegation("targets/alice", Role(("x",)), ("v1", "rc"))
    data = sign(nested(("v1.0", "v2", "rc-")), (plain("alice"), key("alice")))
    found = list(chain.delegated("targets/alice", decode(data, Targets, "alice"), parent))
    assert [(item.name, item.paths) for item in found] == [("targets/alice/bob", ("v1.0", "rc-"))]


def test_delegations_of_delegations_are_read() -> None:
    child = sign(Targets(1, "2029-01-01T00:00:00Z", {"v9": V1}), (plain("bob"), key("bob")))
    files = Repo(
        payload={
            "targets/alice": lambda _: nested(("",)),
            SNAPSHOT: lambda same: replace(same, meta=same.meta | {"targets/alice/bob": meta_of(child)}),
        }
    ).build()
    files.files["targets/alice/bob"] = child
    assert read(files).signed_by("targets/alice/bob") == {"v9": V1}


def two(name: str, *, threshold: int = 2, others: tuple[PublicKey, ...] = ()) -> Any:
    """A change of the root: a role with more keys and another threshold."""

    def change(root: Any) -> Any:
        keys = (*(root.keys[key_id] for key_id in root.roles[name].key_ids), *others)
        role = Role(tuple(item.key_id for item in keys), threshold)
        return replace(root, keys=root.keys | {item.key_id: item for item in others}, roles=root.roles | {name: role})

    return change


def test_a_threshold_of_two_needs_two_keys() -> None:
    bob = plain("bob")
    both = ((plain(TARGETS), key(TARGETS)), (bob, key("bob")))
    change = {ROOT: two(TARGETS, others=(bob,))}
    assert read(Repo(payload=change, signers={TARGETS: both}).build()).trusted_tag("v1").meta == V1
    for signers in (both[:1], both[1:], (both[0], both[0])):
        with pytest.raises(TamperedError) as caught:
            read(Repo(payload=change, signers={TARGETS: signers}).build())
        assert "2 good signature(s) of its keys were expected, 1 found" in caught.value.message


def test_one_root_key_under_two_certificates_signs_once() -> None:
    again = certificate("root", GUN, NOW - dt.timedelta(days=5))
    signers = ((Repo().root_certificate, key("root")), (again, key("root")))
    with pytest.raises(TamperedError) as caught:
        read(Repo(payload={ROOT: two(ROOT, others=(again,))}, signers={ROOT: signers}).build())
    assert "2 signature(s) are asked for, and 1 key(s) are there" in caught.value.message


def rotated(files: Files, **changes: Any) -> Files:
    """The same repository after a rotation of the root key."""
    old, new = certificate("root"), certificate("root2")

    def payload(root: Any) -> Any:
        return replace(root, keys=root.keys | {old.key_id: old})

    signers = changes.pop("signers", ((new, key("root2")), (old, key("root"))))
    made = Repo(
        root_version=2, root_key="root2", version=4, payload={ROOT: payload}, signers={ROOT: signers}, **changes
    ).build()
    made.roots = files.roots | made.roots
    return made


def test_a_rotated_root_is_followed_and_its_old_certificate_stays() -> None:
    first = Repo().build()
    found = read(rotated(first), seen=seen(first))
    assert found.root.payload.version == 2
    assert certificate("root").key_id in found.root.payload.keys


def test_a_root_that_is_rotated_while_the_rest_is_read() -> None:
    first = Repo().build()
    second = rotated(first)

    class Rotating(Files):
        """The first root, and the rest of the second."""

        def get(self, role: str, *, version: int | None = None, meta: Meta | None = None) -> bytes | None:
            early = role == ROOT and version is None and "root" not in self.asked
            found = super().get(role, version=version, meta=meta)
            return first.files[ROOT] if early else found

    found = read(Rotating(second.files, second.roots), seen=seen(first))
    assert found.root.payload.version == 2


def test_more_delegations_than_anybody_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "MAX_DELEGATIONS", 1)
    with pytest.raises(TamperedError) as caught:
        read(Repo().build())
    assert "more than 1 delegations" in caught.value.message


def test_a_root_that_the_old_key_has_not_signed_is_not_trusted() -> None:
    first = Repo().build()
    with pytest.raises(UntrustedRootError) as caught:
        read(rotated(first, signers=((certificate("root2"), key("root2")),)), seen=seen(first))
    assert "not signed by the keys of the trusted root 1" in caught.value.message


def test_a_root_that_its_own_key_has_not_signed_is_refused() -> None:
    first = Repo().build()
    with pytest.raises(TamperedError):
        read(rotated(first, signers=((certificate("root"), key("root")),)), seen=seen(first))


def test_a_root_in_between_that_its_own_key_has_not_signed_is_refused() -> None:
    first = Repo().build()
    second = rotated(first, signers=((certificate("root"), key("root")),))
    third = Repo(root_version=3, root_key="root2", version=5).build()
    third.roots = {**second.roots, **third.roots}
    with pytest.raises(TamperedError):
        read(third, seen=seen(first))
    third.roots[2] = rotated(first).files[ROOT]
    assert read(third, seen=seen(first)).root.payload.version == 3


def test_another_root_of_the_same_version_is_refused() -> None:
    with pytest.raises(TamperedError) as caught:
        read(Repo(root_key="root2").build(), seen=seen(Repo().build()))
    assert "another one than the trusted root 1" in caught.value.message


def test_the_same_root_without_its_signature_is_refused() -> None:
    trusted = chain.read_root(Repo().build().files[ROOT])
    assert chain.follow_root(trusted, trusted.raw) == trusted
    with pytest.raises(TamperedError):
        chain.follow_root(trusted, Repo(signers={ROOT: ()}).build().files[ROOT])


def test_an_old_root_is_a_rollback() -> None:
    first = Repo().build()
    with pytest.raises(RollbackError):
        read(first, seen=seen(rotated(first)))


def test_versions_that_are_left_out_must_be_there() -> None:
    first = Repo().build()
    third = Repo(root_version=3, version=5).build()
    with pytest.raises(TamperedError) as caught:
        read(third, seen=seen(first))
    assert "2.root.json" in caught.value.message
    third.roots[2] = third.files[ROOT]
    with pytest.raises(TamperedError) as caught:
        read(third, seen=seen(first))
    assert "root 3 does not follow root 1" in caught.value.message


def test_a_root_of_an_absurd_version_does_not_keep_us_busy() -> None:
    first = Repo().build()
    with pytest.raises(TamperedError) as caught:
        read(Repo(root_version=2**40).build(), seen=seen(first))
    assert "at most 1024" in caught.value.message


def test_an_expired_certificate_that_is_known_does_not_block_the_root_that_replaces_it() -> None:
    eleven_years_ago = NOW - dt.timedelta(days=365 * 11)
    old = certificate("root", GUN, eleven_years_ago)
    expired = Repo(made=eleven_years_ago).build()
    known = Seen(chain.read_root(expired.files[ROOT]), {"root": 1})
    with pytest.raises(ExpiredError) as caught:
        read(expired, seen=known)
    assert "root certificate of registry.example:5000/team/app expired 2025" in caught.value.message
    new = certificate("root2")
    after = Repo(
        root_version=2,
        root_key="root2",
        payload={ROOT: lambda root: replace(root, keys=root.keys | {old.key_id: old})},
        signers={ROOT: ((new, key("root2")), (old, key("root")))},
    ).build()
    assert read(after, seen=known).trusted_tag("v1").meta == V1
    assert read(expired, seen=known, now=None).trusted_tag("v1").meta == V1


def test_a_certificate_may_begin_a_day_ahead_of_this_clock() -> None:
    assert read(Repo(made=NOW + dt.timedelta(hours=23)).build()).gun == GUN
    with pytest.raises(ExpiredError) as caught:
        read(Repo(made=NOW + dt.timedelta(hours=25)).build())
    assert "is valid from" in caught.value.message


def test_the_data_of_another_repository_is_not_trusted() -> None:
    with pytest.raises(UntrustedRootError) as caught:
        read(Repo(gun="registry.example:5000/team/other").build())
    assert "for 'registry.example:5000/team/other': expected 'registry.example:5000/team/app'" in caught.value.message


def test_a_certificate_with_a_star_is_for_what_begins_so() -> None:
    assert read(Repo(root_key="star").but(gun=GUN).build()).gun == GUN  # its own name
    star = certificate("wild", "registry.example:5000/team/*")
    star.check_valid_for(GUN, NOW)
    with pytest.raises(UntrustedRootError):
        star.check_valid_for("registry.example:5000/other/app", NOW)
    assert common_name(star.certificate()).endswith("*")


def test_a_root_key_without_certificate_is_for_no_repository() -> None:
    bare = plain("root")

    def payload(root: Any) -> Any:
        return replace(root, keys=root.keys | {bare.key_id: bare}, roles=root.roles | {ROOT: Role((bare.key_id,))})

    with pytest.raises(UntrustedRootError) as caught:
        read(Repo(payload={ROOT: payload}, signers={ROOT: ((bare, key("root")),)}).build())
    assert "is no certificate" in caught.value.message


def test_a_root_is_trusted_when_somebody_says_so() -> None:
    with pytest.raises(UntrustedRootError) as caught:
        reader.read(Repo().build(), GUN, None, nobody, NOW)
    assert Repo().root_certificate.canonical_id in caught.value.message
    assert "--trust-on-first-use" in str(caught.value.hint)


def test_nothing_is_there() -> None:
    with pytest.raises(UnsignedError):
        read(Files({}))
    with pytest.raises(RollbackError):
        read(Files({}), seen=seen(Repo().build()))
    with pytest.raises(RollbackError):
        read(Files({}), seen=Seen(seen(Repo().build()).root))


@pytest.mark.parametrize(
    ("public", "private", "method"),
    [
        (from_crypto(rsa_key().public_key()), rsa_key(), "rsapss"),
        (from_crypto(rsa_key().public_key()), rsa_key(), "rsapkcs1v15"),
        (from_crypto(rsa_key().public_key()), rsa_key(), "pycrypto-pkcs#1 pss"),
        (from_crypto(ed_key().public_key()), ed_key(), "eddsa"),
        (plain("any"), key("any"), "ecdsa"),
        (certificate("any"), key("any"), "ecdsa"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_every_kind_of_key_and_method_verifies(public: PublicKey, private: Any, method: str) -> None:
    made, raw = signature(private, b"message", method)
    assert made in {method, "ecdsa"}
    assert public.verifies(b"message", method, raw)
    assert not public.verifies(b"another", method, raw)
    assert not public.verifies(b"message", method, raw[:-1])
    assert not public.verifies(b"message", "none", raw)


def test_a_pem_key_of_the_python_client_verifies() -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    pem = rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _, raw = signature(rsa_key(), b"message", "pycrypto-pkcs#1 pss")
    assert PublicKey("rsa", pem).verifies(b"message", "pycrypto-pkcs#1 pss", raw)


@pytest.mark.parametrize(
    ("public", "said"),
    [
        (PublicKey("ecdsa", b"no key"), "damaged"),
        (PublicKey("ed25519", bytes(31)), "damaged"),
        (PublicKey("dsa", b""), "of the type 'dsa'"),
        (PublicKey("rsa", plain("any").public), "its value is a"),
        (PublicKey("ecdsa", b"x" * (65 << 10)), "damaged"),
        (PublicKey("ecdsa-x509", b"no certificate"), "certificate is damaged"),
        (PublicKey("ecdsa-x509", certificate("any").public * 2), "2 leaf certificates"),
        (PublicKey("rsa-x509", certificate("any").public), "its value is a"),
        (from_crypto(rsa_key(1024).public_key()), "1024 bits"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_key_that_is_none_is_refused(public: PublicKey, said: str) -> None:
    with pytest.raises(TamperedError) as caught:
        _ = public.material
    assert said in caught.value.message


def test_a_certificate_signed_with_sha1_is_too_weak() -> None:
    """SHA-1 is long forbidden to the library; the certificate is changed by hand."""
    from trust.notary import der

    made = key("old")

    def weak(body: bytes) -> bytes:
        from cryptography.hazmat.primitives.asymmetric import ec

        return made.sign(body, ec.ECDSA(hashes.SHA256()))

    good = certificates.make(GUN, made.public_key(), weak, NOW).certificate()
    from cryptography.hazmat.primitives.serialization import Encoding

    sha256, sha1 = bytes.fromhex("300a06082a8648ce3d040302"), bytes.fromhex("300906072a8648ce3d0401")
    body = good.tbs_certificate_bytes
    inner = der.read(body).content.replace(sha256, sha1)
    whole = der.wrap(der.SEQUENCE, der.wrap(der.SEQUENCE, inner) + sha1 + der.wrap(0x03, b"\0" + good.signature))
    from cryptography.x509 import load_der_x509_certificate

    public = PublicKey("ecdsa-x509", load_der_x509_certificate(whole).public_bytes(Encoding.PEM))
    with pytest.raises(TamperedError) as caught:
        public.check_valid_for(GUN, NOW)
    assert "SHA-1" in caught.value.message


def test_a_chain_has_one_leaf_and_a_certificate_that_says_nothing_is_one() -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    def made(name: str, *, authority: bool) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject)
            .public_key(key(name).public_key())
            .serial_number(7)
            .not_valid_before(NOW)
            .not_valid_after(LATER)
        )
        if authority:
            builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        return builder.sign(key(name), hashes.SHA256()).public_bytes(Encoding.PEM)

    leaf, authority = made("leaf", authority=False), made("ca", authority=True)
    assert PublicKey("ecdsa-x509", leaf + authority).canonical_id == plain("leaf").canonical_id
    with pytest.raises(TamperedError, match="0 leaf certificates"):
        PublicKey("ecdsa-x509", authority).certificate()


def test_a_certificate_is_as_notary_makes_it() -> None:
    made, theirs = certificate("mine").certificate(), _vector_certificate()
    assert [item.oid for item in made.extensions] == [item.oid for item in theirs.extensions]
    assert [item.value for item in made.extensions] == [item.value for item in theirs.extensions]
    assert made.subject == made.issuer
    made.verify_directly_issued_by(made)
    years = (made.not_valid_after_utc - made.not_valid_before_utc).days / 365
    assert 10 <= years < 10.1
    assert certificate("mine").key_id != certificate("mine", GUN, AGO).key_id
    assert certificate("mine").canonical_id == plain("mine").key_id == plain("mine").canonical_id


def _vector_certificate() -> Any:
    root = chain.read_root(vectors().files[ROOT]).payload
    return root.keys[root.roles[ROOT].key_ids[0]].certificate()


def test_a_name_of_255_characters_fits_into_a_certificate() -> None:
    long = f"registry.example/{'a' * 238}"
    assert common_name(certificate("long", long).certificate()) == long
    certificate("long", long).check_valid_for(long, NOW)


def test_signatures_of_ecdsa_are_two_numbers_of_fixed_width() -> None:
    der = der_signature((1).to_bytes(32, "big") + (2).to_bytes(32, "big"), 256)
    assert der == bytes.fromhex("3006020101020102")
    with pytest.raises(ValueError, match="63 bytes"):
        der_signature(bytes(63), 256)
