"""Publishing tags on a Notary server: in which role, with which keys, and when others publish at the same time."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from tests.doubles.notary_server import NotaryDouble, Reply, rejection
from tests.keys.conftest import Answers
from tests.notary.repos import GUN, NOW, V1, V2, Repo, certificate, ed_key, key, plain, rsa_key
from tests.notary.test_sources import files_of, server
from trust.errors import ConflictError, ExpiredError, KeyUnavailableError, TamperedError, UnsignedError, UsageError
from trust.keys import container
from trust.keys.ids import EXAMPLE_KEY_IDS, public_key_of
from trust.keys.store import KeyStore
from trust.notary import publish, reader, signing
from trust.notary.codec import decode
from trust.notary.model import RELEASES, ROOT, SNAPSHOT, TARGETS, Meta, Role, Targets
from trust.notary.publickeys import PublicKey, from_crypto
from trust.notary.publish import Change, Publisher
from trust.notary.signing import NotarySigning
from trust.notary.sources import RejectedError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from trust.notary.chain import Repository

V3 = Meta(530, {"sha256": bytes(range(2, 34))})


@pytest.fixture(autouse=True)
def _cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(container, "KDF_ROUNDS", 1)
    monkeypatch.setattr(container, "MIN_KDF_ROUNDS", 1)


@pytest.fixture
def keys(tmp_path: Path) -> KeyStore:
    return KeyStore(tmp_path / "keys", Answers())


@pytest.fixture
def double() -> Iterator[NotaryDouble]:
    with NotaryDouble() as running:
        yield running


def load(keys: KeyStore, private: Any, label: str) -> None:
    pem = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    keys.load(pem, label, purpose="repository")


class At:
    """A publisher at one keyboard."""

    def __init__(self, double: NotaryDouble, keys: KeyStore) -> None:
        self.waits: list[float] = []
        self.double = double
        self.signing = NotarySigning(keys, allow_example_keys=False)
        self.publisher = Publisher(
            server(double),
            self.read,
            self.signing,
            gun=GUN,
            targets_label="app.notary",
            now=NOW,
            sleep=self.waits.append,
        )

    def read(self) -> Repository | None:
        try:
            return reader.read(server(self.double), GUN, None, lambda _: True, None)
        except UnsignedError:
            return None

    def there(self) -> dict[str, Meta]:
        found = self.read()
        assert found is not None
        return {item.tag: item.meta for item in found.tags()}


@pytest.fixture
def at(double: NotaryDouble, keys: KeyStore) -> At:
    return At(double, keys)


def test_the_first_publish_begins_a_repository(at: At, keys: KeyStore) -> None:
    done = at.publisher.publish(Change({"v1": V1}))
    assert (done.initialised, done.roles) == (True, (ROOT, TARGETS))
    assert done.repository.versions == {"root": 1, "targets": 1, "snapshot": 1, "timestamp": 1}
    root = done.repository.root.payload
    certificate_of_root = root.keys[root.roles[ROOT].key_ids[0]]
    certificate_of_root.check_valid_for(GUN, NOW)
    assert {key.label: (key.public.keytype, key.purpose) for key in keys.keys()} == {  # noqa: SIM118
        "notary-root": ("ecdsa", "root"),
        "app.notary": ("ecdsa", "repository"),
    }
    assert root.roles[SNAPSHOT].key_ids == (plain(SNAPSHOT).key_id,)
    assert done.repository.root.expires == NOW + timedelta(days=3650)
    assert done.repository.targets[TARGETS].expires == NOW + timedelta(days=1095)


def test_the_second_repository_has_the_same_root_key_and_another_certificate(
    double: NotaryDouble, keys: KeyStore
) -> None:
    first = NotarySigning(keys, allow_example_keys=False)
    key_of_all = first.key_for("notary-root", "root")
    assert first.key_for("notary-root", "root") == key_of_all
    one, two = (first.certificate(gun, key_of_all, NOW) for gun in (GUN, f"{GUN}2"))
    assert one.canonical_id == two.canonical_id
    assert one.key_id != two.key_id


def test_what_is_signed_already_is_not_published_again(at: At) -> None:
    at.publisher.publish(Change({"v1": V1}))
    before = dict(at.double.files[GUN])
    done = at.publisher.publish(Change({"v1": V1}, frozenset({"never-there"})))
    assert (done.roles, done.initialised) == ((), False)
    assert at.double.files[GUN] == before


def test_a_tag_moves_another_stays_and_a_third_is_withdrawn(at: At) -> None:
    at.publisher.publish(Change({"a": V1, "b": V1, "c": V1}))
    done = at.publisher.publish(Change({"a": V2}, frozenset({"c"})))
    assert done.roles == (TARGETS,)
    assert at.there() == {"a": V2, "b": V1}


def test_nothing_is_withdrawn_where_nothing_is(at: At) -> None:
    change = Change(drop=frozenset({"v1"}))
    for act in (at.publisher.check, at.publisher.prepare, at.publisher.publish):
        with pytest.raises(UnsignedError, match="nothing to withdraw"):
            act(change)


def test_a_check_makes_no_key_and_a_preparation_does(at: At, keys: KeyStore) -> None:
    at.publisher.check(Change({"v1": V1}))
    assert keys.keys() == ()
    at.publisher.prepare(Change({"v1": V1}))
    assert len(keys.keys()) == 2
    assert at.read() is None
    at.publisher.publish(Change({"v1": V1}))
    at.publisher.check(Change({"v1": V2}))
    at.publisher.prepare(Change({"v1": V2}))
    assert at.there() == {"v1": V1}


def with_signers(double: NotaryDouble, **changes: Any) -> None:
    double.files[GUN] = files_of(Repo(**changes))


def test_where_there_are_signers_they_sign_and_targets_does_not(at: At, keys: KeyStore) -> None:
    with_signers(at.double)
    load(keys, key("alice"), "alice")
    load(keys, key(TARGETS), "targets")
    done = at.publisher.publish(Change({"v3": V3}))
    assert set(done.roles) == {RELEASES, "targets/alice"}
    assert done.repository.signers_of("v3") == (RELEASES, "targets/alice")


@pytest.mark.parametrize("here", [(), (TARGETS,)])
def test_a_key_that_docker_would_not_heed_is_refused(at: At, keys: KeyStore, here: tuple[str, ...]) -> None:
    with_signers(at.double)
    for name in here:
        load(keys, key(name), name)
    for act in (at.publisher.check, at.publisher.publish):
        with pytest.raises(UnsignedError, match="they heed targets/releases"):
            act(Change({"v3": V3}))
    assert "POST" not in " ".join(at.double.requests)


def test_a_tag_outside_of_the_prefixes_is_refused(at: At, keys: KeyStore) -> None:
    with_signers(at.double, paths=("v",))
    load(keys, key("alice"), "alice")
    assert at.publisher.publish(Change({"v3": V3})).roles
    with pytest.raises(UnsignedError, match="may sign 'x1'"):
        at.publisher.publish(Change({"x1": V3}))


def test_a_tag_is_withdrawn_from_every_role_that_docker_heeds(at: At, keys: KeyStore) -> None:
    """docker's own revoke leaves what targets signed before there were signers."""
    with_signers(at.double, top={"v1": V1})
    load(keys, key("alice"), "alice")
    with pytest.raises(UnsignedError, match="cannot sign targets"):
        at.publisher.publish(Change(drop=frozenset({"v1"})))
    load(keys, key(TARGETS), "targets")
    done = at.publisher.publish(Change(drop=frozenset({"v1"})))
    assert set(done.roles) == {TARGETS, RELEASES, "targets/alice"}
    assert at.there() == {"v2": V2}


def test_another_s_delegation_is_left_to_its_holder(at: At, keys: KeyStore) -> None:
    """Docker heeds targets/releases alone."""
    bob = plain("bob")

    def targets(payload: Targets) -> Targets:
        releases, alice = payload.delegations
        theirs = replace(alice, role=Role((bob.key_id,)))
        return replace(payload, keys={**payload.keys, bob.key_id: bob}, delegations=(releases, theirs))

    with_signers(at.double, payload={TARGETS: targets}, signers={"targets/alice": ((bob, key("bob")),)})
    load(keys, key("alice"), "alice")
    assert at.publisher.publish(Change(drop=frozenset({"v1"}))).roles == (RELEASES,)


def test_a_delegation_s_first_file(at: At, keys: KeyStore) -> None:
    def without(payload: Any) -> Any:
        return replace(payload, meta={name: meta for name, meta in payload.meta.items() if name in (ROOT, TARGETS)})

    with_signers(at.double, payload={SNAPSHOT: without})
    for name in (RELEASES, "targets/alice"):
        del at.double.files[GUN][name]
    load(keys, key("alice"), "alice")
    done = at.publisher.publish(Change({"v3": V3}))
    assert done.repository.versions["targets/alice"] == 1
    assert at.there() == {"v3": V3}


def test_a_delegation_that_does_not_count_is_not_signed_over(at: At, keys: KeyStore) -> None:
    with_signers(at.double, signers={RELEASES: ((plain("mallory"), key("mallory")),)})
    load(keys, key("alice"), "alice")
    with pytest.raises(UnsignedError, match="cannot be signed as it stands"):
        at.publisher.publish(Change({"v3": V3}))


def test_a_snapshot_key_that_is_here_signs(at: At, keys: KeyStore) -> None:
    """As in repositories of the first age: the server holds the timestamp's alone."""
    with_signers(at.double, delegations=False)
    load(keys, key(SNAPSHOT), "snapshot")
    load(keys, key(TARGETS), "targets")
    done = at.publisher.publish(Change({"v3": V3}))
    assert done.roles == (TARGETS, SNAPSHOT)
    assert done.repository.versions["snapshot"] == 4


def test_a_threshold_needs_as_many_keys(at: At, keys: KeyStore) -> None:
    bob = plain("bob")

    def root(payload: Any) -> Any:
        role = Role((plain(TARGETS).key_id, bob.key_id), 2)
        return replace(payload, keys={**payload.keys, bob.key_id: bob}, roles={**payload.roles, TARGETS: role})

    both = ((plain(TARGETS), key(TARGETS)), (bob, key("bob")))
    with_signers(at.double, delegations=False, payload={ROOT: root}, signers={TARGETS: both})
    load(keys, key(TARGETS), "targets")
    with pytest.raises(UnsignedError, match=r"2 of its keys .* are needed, and it holds 1"):
        at.publisher.publish(Change({"v3": V3}))
    load(keys, key("bob"), "bob")
    assert at.publisher.publish(Change({"v3": V3})).roles == (TARGETS,)


def test_what_has_expired_is_signed_anew(at: At, keys: KeyStore) -> None:
    with_signers(at.double, expires={RELEASES: NOW, TARGETS: NOW, "targets/alice": NOW})
    load(keys, key("alice"), "alice")
    with pytest.raises(UnsignedError, match="cannot sign targets"):
        at.publisher.publish(Change({"v1": V1}))
    load(keys, key(TARGETS), "targets")
    done = at.publisher.publish(Change({"v1": V1}))
    assert set(done.roles) == {TARGETS, RELEASES, "targets/alice"}
    assert reader.read(server(at.double), GUN, None, lambda _: True, NOW).trusted_tag("v2").meta == V2


def test_a_root_that_has_expired_is_not_built_on(at: At, keys: KeyStore) -> None:
    with_signers(at.double, expires={ROOT: NOW}, delegations=False)
    load(keys, key(TARGETS), "targets")
    with pytest.raises(ExpiredError, match=r"root\.json expired"):
        at.publisher.publish(Change({"v1": V1}))


def test_another_publisher_was_first(double: NotaryDouble, keys: KeyStore) -> None:
    at, other = At(double, keys), At(double, keys)
    at.publisher.publish(Change({"v1": V1}))
    double.before_update = lambda: other.publisher.publish(Change({"theirs": V2}))
    done = at.publisher.publish(Change({"mine": V3}))
    assert done.roles == (TARGETS,)
    assert at.there() == {"v1": V1, "theirs": V2, "mine": V3}
    assert len(at.waits) == 1


def test_another_publisher_began_the_repository(double: NotaryDouble, keys: KeyStore) -> None:
    at, other = At(double, keys), At(double, keys)
    double.before_update = lambda: other.publisher.publish(Change({"theirs": V2}))
    assert at.publisher.publish(Change({"mine": V3})).initialised is False
    assert at.there() == {"theirs": V2, "mine": V3}


def test_others_are_first_every_time(double: NotaryDouble, keys: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(publish, "MAX_ROUNDS", 3)
    at, other = At(double, keys), At(double, keys)
    other.publisher.publish(Change({"v1": V1}))
    number = iter(range(9))

    def again() -> None:
        tag = f"t{next(number)}"
        double.before_update = None
        other.publisher.publish(Change({tag: V2}))
        double.before_update = again

    double.before_update = again
    with pytest.raises(ConflictError, match="3 times"):
        at.publisher.publish(Change({"mine": V3}))
    assert len(at.waits) == 3


def test_a_refusal_for_another_reason_is_no_conflict(at: At) -> None:
    at.publisher.publish(Change({"v1": V1}))
    at.double.fault = lambda method, _: Reply(400, rejection("ErrBadHierarchy", "no")) if method == "POST" else None
    with pytest.raises(RejectedError, match="no"):
        at.publisher.publish(Change({"v1": V2}))
    assert at.waits == []


def test_a_server_that_takes_an_update_and_does_not_serve_it(at: At) -> None:
    at.publisher.publish(Change({"v1": V1}))
    at.double.fault = lambda method, _: Reply() if method == "POST" else None
    with pytest.raises(TamperedError, match="does not serve it"):
        at.publisher.publish(Change({"v1": V2}))


def test_a_server_that_serves_something_else_in_its_place(at: At) -> None:
    at.publisher.publish(Change({"v1": V1}))
    honest = at.publisher._server

    class Lying:
        name = honest.name

        def key(self, role: str) -> PublicKey:
            return honest.key(role)

        def publish(self, files: Any) -> None:
            honest.publish(files)
            theirs = decode(at.double.files[GUN][TARGETS], Targets, TARGETS)
            payload = replace(theirs.payload, targets={"v1": V3})
            held = at.signing.find(_targets_key(at))
            assert held is not None
            changed = at.signing.sign(payload, *_targets_role(at), TARGETS).raw
            at.double.files[GUN] = at.double._signed({**at.double.files[GUN], TARGETS: changed}, 2, 2)

    at.publisher._server = Lying()
    with pytest.raises(TamperedError, match="does not serve it"):
        at.publisher.publish(Change({"v1": V2}))


def _targets_role(at: At) -> tuple[Role, Any]:
    found = at.read()
    assert found is not None
    return found.root.payload.roles[TARGETS], found.root.payload.keys


def _targets_key(at: At) -> PublicKey:
    role, keys = _targets_role(at)
    found: PublicKey = keys[role.key_ids[0]]
    return found


def test_a_server_that_gives_one_key_for_two_roles(at: At) -> None:
    import json

    same = json.dumps(plain(SNAPSHOT).to_json()).encode()
    at.double.fault = lambda _, path: Reply(body=same) if path.endswith(".key") else None
    with pytest.raises(UsageError, match="one key for two roles"):
        at.publisher.publish(Change({"v1": V1}))


@pytest.mark.parametrize(
    ("private", "method"),
    [(rsa_key(), "rsapss"), (ed_key(), "eddsa"), (key("any"), "ecdsa")],
    ids=["rsa", "ed25519", "ecdsa"],
)
def test_keys_of_every_kind_sign(at: At, keys: KeyStore, private: Any, method: str) -> None:
    load(keys, private, "mine")
    public = from_crypto(private.public_key())
    made = at.signing.sign(Targets(1, "2030-01-01T00:00:00Z"), Role((public.key_id,)), {public.key_id: public}, "it")
    assert [item.method for item in made.signatures] == [method]
    assert public.verifies(made.message, method, made.signatures[0].sig)


def test_a_key_on_a_curve_whose_hash_docker_does_not_know(at: At, keys: KeyStore) -> None:
    from cryptography.hazmat.primitives.asymmetric import ec

    private = ec.generate_private_key(ec.SECP384R1())
    load(keys, private, "p384")
    public = from_crypto(private.public_key())
    with pytest.raises(KeyUnavailableError, match="docker and notary do not read"):
        at.signing.sign(Targets(1, "2030-01-01T00:00:00Z"), Role((public.key_id,)), {public.key_id: public}, "it")


def test_a_certificate_needs_an_ecdsa_key_that_is_here(at: At, keys: KeyStore) -> None:
    load(keys, ed_key(), "ed")
    for public in (from_crypto(ed_key().public_key()), plain("nobody")):
        with pytest.raises(KeyUnavailableError, match="is not here, or no ECDSA key"):
            at.signing.certificate(GUN, public, NOW)


def test_a_certificate_and_its_plain_key_are_one_key(at: At, keys: KeyStore) -> None:
    load(keys, key("root"), "root")
    found = at.signing.find(certificate("root"))
    assert found is not None
    assert found.label == "root"
    assert at.signing.find(plain("nobody")) is None


def test_keys_that_notary_does_not_know_are_no_obstacle(
    at: At, keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    load(keys, key("one"), "one")
    load(keys, key("root"), "root")

    def some(found: Any) -> Any:
        if found.keyid == keys.find("one").key_id:
            raise UsageError("of another kind")
        return public_key_of(found)

    monkeypatch.setattr("trust.notary.signing.public_key_of", some)
    assert at.signing.find(plain("root")) is not None
    assert at.signing.find(plain("one")) is None


def test_an_example_key_signs_nothing(at: At, keys: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    load(keys, key("example"), "example")
    monkeypatch.setattr("trust.keys.ids.EXAMPLE_KEY_IDS", EXAMPLE_KEY_IDS | {str(keys.find("example").key_id)})
    public = plain("example")
    with pytest.raises(KeyUnavailableError, match=r"keys\.example"):
        at.signing.sign(Targets(1, "2030-01-01T00:00:00Z"), Role((public.key_id,)), {public.key_id: public}, "it")


def test_a_key_that_another_process_makes_at_this_moment(
    at: At, keys: KeyStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other one has taken the name, and writes the description last."""
    theirs = NotarySigning(KeyStore(keys._folder, Answers()), allow_example_keys=False)
    monkeypatch.setattr(signing, "LOOK_SECONDS", 0.001)
    looks = iter(range(99))
    find: Callable[[str], Any] = keys.find

    def late(label: str) -> Any:
        if next(looks) == 3:
            theirs.key_for(label, "root")
        return find(label)

    def taken(*_: object, **__: object) -> Any:
        raise UsageError("another process was first")

    monkeypatch.setattr(keys, "find", late)
    monkeypatch.setattr(keys, "generate", taken)
    assert at.signing.key_for("notary-root", "root") == theirs.key_for("notary-root", "root")
    monkeypatch.setattr(signing, "MAKING_SECONDS", 0.01)
    with pytest.raises(KeyUnavailableError):
        at.signing.key_for("never-made", "root")
