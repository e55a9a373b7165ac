"""The gate against registries: the attacks, what it costs, and registries that do not answer."""

from __future__ import annotations

import json
import time
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.doubles.faulty_registry import FaultyRegistry, Hang, Status
from tests.gate.world import World, policy, rule, with_tags
from tests.oci.samples import index_of, sample
from tests.trust.builders import (
    NOW,
    Delegate,
    a_team,
    an_image,
    plant_state,
    put_image,
    put_state,
    signed_of,
    target_of,
)
from trust.digest import Digest
from trust.errors import UnreachableError
from trust.gate.found import Found, Place
from trust.gate.judge import Outcome, exit_code
from trust.gate.lock import Lock, write
from trust.oci.layout import Layout
from trust.states import POINTER_TAG
from trust.tuf.roles import RoleKeys

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from trust.gate.judge import Decision
    from trust.oci.source import StoreName
    from trust.oci.store import Store

LATER = NOW + timedelta(days=15)


@pytest.fixture
def server() -> Iterator[FaultyRegistry]:
    with FaultyRegistry() as running:
        yield running


@pytest.fixture
def world(server: FaultyRegistry, tmp_path: Path) -> World:
    return World(server, tmp_path)


def refused(decision: Decision, verdict: str, *, advice: str) -> None:
    """Refused with this verdict alone, and a line of advice with these words."""
    assert decision.outcome is Outcome.REFUSED
    assert [finding.verdict for finding in decision.findings] == [verdict], decision.findings
    assert advice in decision.findings[0].advice
    assert "\n" not in decision.findings[0].advice + decision.findings[0].message


def test_what_is_signed_and_current_passes(world: World) -> None:
    _, state = with_tags(world, ["v1"])
    decision = world.one(world.name("app:v1"))
    assert (decision.outcome, decision.verdict, decision.findings) == (Outcome.PASSED, "trusted", ())
    assert decision.signers == ("targets",)
    assert decision.expires == NOW + timedelta(days=14)
    assert decision.state is not None
    assert decision.state.root == Digest.of(state.root)


# The attacks


def test_unsigned_a_repository_without_trust_data(world: World) -> None:
    put_image(world.store(), *an_image(), "v1")
    refused(world.one(world.name("app:v1")), "unsigned", advice="dockseal sign")


def test_unsigned_a_tag_that_nobody_signed(world: World) -> None:
    with_tags(world, ["v1"])
    put_image(world.store(), *an_image(b"other"), "v2")
    decision = world.one(world.name("app:v2"))
    refused(decision, "unsigned", advice="dockseal sign")
    assert "the registry's tag points at" in decision.findings[0].message


def test_unsigned_a_digest_that_no_tag_yields(world: World) -> None:
    with_tags(world, ["v1"])
    decision = world.one(world.name(f"app@{Digest.of(b'x')}"))
    refused(decision, "unsigned", advice="dockseal inspect")


def test_the_tag_was_moved_in_the_registry(world: World) -> None:
    with_tags(world, ["v1"])
    put_image(world.store(), *an_image(b"evil"), "v1")
    refused(world.one(world.name("app:v1")), "mismatch", advice="moved without signing")


def test_a_rolled_back_state_on_a_machine_that_has_seen_more(world: World) -> None:
    team, state = with_tags(world, ["v1"])
    put_state(world.store(), team.next(state))
    assert world.one(world.name("app:v1")).verdict == "trusted"
    plant_state(world.store(), state)
    refused(world.one(world.name("app:v1")), "rollback", advice="ask whoever publishes")


def test_a_rolled_back_state_on_a_machine_without_memory(world: World) -> None:
    team, state = with_tags(world, ["v1"])
    put_state(world.store(), team.next(state))
    lock = Lock.parse(write(world.decide(world.name("app:v1"))), "dockseal.lock")
    plant_state(world.store(), state)
    fresh = world.machine("fresh")
    assert world.one(world.name("app:v1"), machine=fresh).verdict == "trusted"  # nothing tells it of the newer one
    holds: tuple[dict[str, Any], ...] = ({"lock": lock}, {"by": rule("min_version = 2")})
    for number, hold in enumerate(holds):
        decision = world.one(world.name("app:v1"), machine=world.machine(f"fresh-{number}"), **hold)
        refused(decision, "rollback", advice="older state")


def test_a_frozen_state(world: World) -> None:
    with_tags(world, ["v1"])
    refused(world.one(world.name("app:v1"), at=LATER), "expired", advice="dockseal repo refresh")
    world.now = LATER
    refused(world.one(world.name("app:v1")), "expired", advice="dockseal repo refresh")


def test_the_state_of_another_repository(world: World) -> None:
    team = a_team(world.name("app-dev"))
    image, blobs = an_image()
    put_image(world.store("app-prod"), image, blobs, "v1")
    state = team.first(target_of(image))
    put_state(world.store("app-prod"), state)
    world.pins.append(replace(team.pin(state), repository=world.name("app-prod")))
    refused(world.one(world.name("app-prod:v1")), "untrusted-root", advice="signed_as")


def test_a_signer_was_removed(world: World) -> None:
    team, state = with_tags(world, ["v1"])
    image, blobs = an_image(b"by release")
    put_image(world.store(), image, blobs, "v2")
    with_release = team.with_delegates(state, Delegate("release", (target_of(image, "v2"),)))
    put_state(world.store(), with_release)
    assert world.one(world.name("app:v2")).verdict == "trusted"
    targets = signed_of(with_release.role("targets"))
    del targets["delegations"]
    targets["version"] += 1
    put_state(world.store(), team.remake(with_release, bodies={"targets": targets}, bump=True))
    refused(world.one(world.name("app:v2")), "unsigned", advice="dockseal sign")


def test_a_signer_whose_patterns_do_not_cover_the_tag(world: World) -> None:
    team, state = with_tags(world, ["v0"])
    image, blobs = an_image(b"x")
    put_image(world.store(), image, blobs, "v1")
    put_state(world.store(), team.with_delegates(state, Delegate("dev", (target_of(image, "v1"),), ("dev-*",))))
    refused(world.one(world.name("app:v1")), "unsigned", advice="dockseal sign")


def test_a_signer_whose_patterns_do_not_cover_the_tag_adds_nothing_to_others(world: World) -> None:
    team, state = with_tags(world, ["v0"])
    image, blobs = an_image(b"x")
    put_image(world.store(), image, blobs, "v1")
    mine = (target_of(image, "v1"),)
    put_state(world.store(), team.with_delegates(state, Delegate("ci", mine), Delegate("dev", mine, ("dev-*",))))
    decision = world.one(world.name("app:v1"), by=rule(signers='{ all = ["ci", "dev"] }'))
    refused(decision, "unauthorized", advice="dockseal sign --signer dev")
    assert decision.signers == ("ci",)


@pytest.mark.parametrize("signers", ['{ all = ["ci", "release"] }', '{ threshold = 2, of = ["ci", "release", "x"] }'])
def test_one_signer_counted_twice(world: World, signers: str) -> None:
    """One person, one key, two names."""
    team, state = with_tags(world, ["v0"])
    image, blobs = an_image(b"x")
    put_image(world.store(), image, blobs, "v1")
    key = team.ring.key()
    team.delegated = {"ci": RoleKeys((key,)), "release": RoleKeys((key,))}
    mine = (target_of(image, "v1"),)
    put_state(world.store(), team.with_delegates(state, Delegate("ci", mine), Delegate("release", mine)))
    decision = world.one(world.name("app:v1"), by=rule(signers=signers))
    refused(decision, "unauthorized", advice="a key of its own")
    assert "the same key: that counts once" in decision.findings[0].message


def test_two_signers_of_the_same_digest_are_two(world: World) -> None:
    team, state = with_tags(world, ["v0"])
    image, blobs = an_image(b"x")
    other, other_blobs = an_image(b"y")
    put_image(world.store(), image, blobs, "v1")
    put_image(world.store(), other, other_blobs, "v2")
    ci = Delegate("ci", (target_of(image, "v1"), target_of(other, "v2")))
    release = Delegate("release", (target_of(image, "v1"), target_of(image, "v2")))  # v2 is another digest
    put_state(world.store(), team.with_delegates(state, ci, release))
    by = rule(signers='{ threshold = 2, of = ["ci", "release"] }')
    first, second = world.decide(world.name("app:v1"), world.name("app:v2"), by=by)
    assert (first.verdict, first.signers) == ("trusted", ("ci", "release"))
    refused(second, "unauthorized", advice="dockseal sign --signer release")


def test_a_signature_that_is_not_valid_is_nobodys(world: World) -> None:
    """A role's file may bear more signatures than its threshold needs; only what verifies counts as a key."""
    team, state = with_tags(world, ["v0"])
    image, blobs = an_image(b"x")
    put_image(world.store(), image, blobs, "v1")
    shared, other = team.ring.new(), team.ring.new()
    both = RoleKeys((shared.public_key, other.public_key), 1)
    team.delegated = {"ci": RoleKeys((shared.public_key,)), "release": both}
    mine = (target_of(image, "v1"),)
    signed = team.with_delegates(state, Delegate("ci", mine), Delegate("release", mine))

    def garble(data: bytes) -> bytes:
        """Leave the shared key's signature whole, and break the other's."""
        body = json.loads(data)
        for signature in body["signatures"]:
            if signature["keyid"] == other.public_key.keyid:
                signature["sig"] = "00" * 64
        return json.dumps(body).encode()

    evil = team.remake(signed, {"release": lambda body: body}, raw={"release": garble}, bump=True)
    put_state(world.store(), evil)
    decision = world.one(world.name("app:v1"), by=rule(signers='{ all = ["ci", "release"] }'))
    refused(decision, "unauthorized", advice="a key of its own")


def test_an_index_is_signed_and_a_platforms_manifest_is_swapped(world: World) -> None:
    amd64, arm64, evil = sample("amd64"), sample("arm64"), sample("evil")
    index = index_of((amd64, "linux/amd64"), (arm64, "linux/arm64/v8"))
    store = world.store()
    for one in (amd64, arm64):
        one.put(store)
    store.put_manifest(index, "v1")
    team = world.team()
    world.publish(team.first(target_of(index)), team)
    by = rule('platforms = ["linux/amd64", "linux/arm64"]')
    assert world.one(world.name("app:v1"), by=by).verdict == "trusted"
    held = world.server.manifests["app"]
    held[str(arm64.manifest.digest)] = replace(held[str(arm64.manifest.digest)], data=evil.manifest.raw)
    refused(world.one(world.name("app:v1"), by=by), "tampered", advice="changed the image")
    pinned = world.name(f"app@{index.digest}")
    refused(world.one(pinned, by=by), "tampered", advice="changed the image")


@pytest.mark.parametrize(("wanted", "verdict"), [("linux/amd64", "trusted"), ("linux/arm64", "disallowed")])
def test_the_platform_of_an_image_without_index_is_in_its_config(world: World, wanted: str, verdict: str) -> None:
    image, blobs = an_image()
    put_image(world.store(), image, blobs, "v1")
    team = world.team()
    world.publish(team.first(target_of(image)), team)
    assert world.one(world.name("app:v1"), by=rule(f'platforms = ["{wanted}"]')).verdict == verdict


def test_the_root_was_replaced(world: World) -> None:
    with_tags(world, ["v1"])
    stranger = world.team()
    image, _ = an_image(b"app v1")
    plant_state(world.store(), stranger.first(target_of(image)))
    refused(world.one(world.name("app:v1")), "untrusted-root", advice="fingerprint")
    fresh = world.machine("fresh")
    refused(world.one(world.name("app:v1"), machine=fresh), "untrusted-root", advice="fingerprint")


def test_the_registry_is_down(world: World) -> None:
    with_tags(world, ["v1"])
    world.server.fail("*", "/v2/", Status(503), times=None)
    decision = world.one(world.name("app:v1"))
    assert (decision.outcome, decision.verdict) == (Outcome.UNREACHABLE, "unreachable")
    assert "run the gate again" in decision.findings[0].advice
    assert exit_code([decision]) == 3


def test_the_registry_answers_429(world: World) -> None:
    with_tags(world, ["v1"])
    world.server.fail("*", "/v2/", Status(429), times=None)
    decision = world.one(world.name("app:v1"))
    assert (decision.outcome, decision.verdict) == (Outcome.UNREACHABLE, "unreachable")
    assert "429" in decision.findings[0].message
    assert "log in" in decision.findings[0].advice


def test_a_registry_that_denies_is_not_reached_and_says_how_to_log_in(world: World) -> None:
    with_tags(world, ["v1"])
    world.server.fail("*", "/v2/", Status(403), times=None)
    decision = world.one(world.name("app:v1"))
    assert decision.verdict == "unreachable"
    assert "dockseal login" in decision.findings[0].advice


def test_a_registry_that_fails_at_the_tag_alone(world: World) -> None:
    with_tags(world, ["v1"])
    world.server.fail("*", "/manifests/v1", Status(500), times=None)
    assert world.one(world.name("app:v1")).outcome is Outcome.UNREACHABLE


def test_what_a_rule_refuses_anyway_is_refused_though_the_registry_is_down(world: World) -> None:
    world.server.fail("*", "/v2/", Status(503), times=None)
    decision = world.one(world.name("app:latest"), by=rule("no_latest = true"))
    assert [finding.verdict for finding in decision.findings] == ["disallowed", "unreachable"]
    assert decision.outcome is Outcome.REFUSED


def test_a_tag_that_is_gone(world: World) -> None:
    with_tags(world, ["v1"])
    del world.server.tags["app"]["v1"]
    refused(world.one(world.name("app:v1")), "missing", advice="push the image")
    refused(world.one(world.name("app:v2")), "missing", advice="push the image")


def test_tampered_trust_data(world: World) -> None:
    _, _ = with_tags(world, ["v1"])
    digest = world.server.tags["app"][POINTER_TAG]
    held = world.server.manifests["app"][digest]
    world.server.manifests["app"][digest] = replace(
        held, data=held.data.replace(b"tuf.io/filename", b"tuf.io/filenamf")
    )
    decision = world.one(world.name("app:v1"))
    assert (decision.outcome, decision.verdict) == (Outcome.REFUSED, "tampered")


# Names by digest


def test_a_digest_is_as_good_as_the_best_tag_that_yields_it(world: World) -> None:
    team, state = with_tags(world, ["v0"])
    image, _ = an_image(b"x")
    ci = Delegate("ci", (target_of(image, "a"), target_of(image, "b")))
    put_state(world.store(), team.with_delegates(state, ci, Delegate("release", (target_of(image, "b"),))))
    name = world.name(f"app@{image.digest}")
    assert world.one(name, by=rule(signers='{ all = ["ci", "release"] }')).verdict == "trusted"
    assert world.one(name, by=rule('tags = ["b"]')).verdict == "trusted"
    refused(world.one(name, by=rule('tags = ["c"]')), "disallowed", advice="dockseal policy explain")


def test_a_tag_with_another_digest_than_the_one_signed_now(world: World) -> None:
    with_tags(world, ["v1"])
    name = world.name(f"app:v1@{Digest.of(b'old')}")
    refused(world.one(name), "mismatch", advice="dockseal gate --write")
    assert world.one(name, pinning=True).verdict == "trusted"


# Roots


def test_a_rules_root_goes_before_the_pins_of_the_machine(world: World) -> None:
    team, state = with_tags(world, ["v1"])
    pin = team.pin(state)
    world.pins[:] = [replace(pin, root=Digest.of(b"another"))]
    assert world.one(world.name("app:v1")).verdict == "untrusted-root"
    assert world.one(world.name("app:v1"), by=rule(f'root = "{pin.root}"')).verdict == "trusted"
    keys = ", ".join(f'"{key.keyid}"' for key in team.keys["root"].keys)
    assert world.one(world.name("app:v1"), by=rule(f"root = {{ keys = [{keys}] }}")).verdict == "trusted"
    machine = replace(world.machine(), root=pin.root)
    assert world.one(world.name("app:v1"), by=rule(f'root = "{Digest.of(b"x")}"'), machine=machine).verdict == "trusted"


def test_without_any_pin_nothing_passes(world: World) -> None:
    with_tags(world, ["v1"])
    world.pins.clear()
    refused(world.one(world.name("app:v1")), "untrusted-root", advice="fingerprint")
    machine = replace(world.machine(), trust_on_first_use=True)
    assert world.one(world.name("app:v1"), machine=machine).verdict == "trusted"
    assert len(world.notes.saved) == 1


# What it costs


def requests(world: World) -> Counter[str]:
    found = Counter(f"{request.method} {request.path.rpartition('/')[2]}" for request in world.server.requests)
    world.server.clear()
    return found


def test_a_thousand_references_by_digest_are_one_request(world: World) -> None:
    """With a role file of a thousand tags, which is not inlined, the first time is two."""
    team, state = with_tags(world, [f"v{number}" for number in range(1000)])
    names = [world.name(f"app@{digest}") for tag, digest in world.server.tags["app"].items() if tag.startswith("v")]
    assert len(set(names)) == 1000
    for expected in ({"GET _trust": 1, f"GET {Digest.of(state.role('targets'))}": 1}, {"GET _trust": 1}):
        assert {decision.verdict for decision in world.decide(*names)} == {"trusted"}
        assert requests(world) == expected
    del team


def test_a_thousand_references_to_few_images_are_one_request_the_first_time_too(world: World) -> None:
    with_tags(world, ["v1", "v2"])
    digests = [world.server.tags["app"][tag] for tag in ("v1", "v2")]
    places = [Found(world.name(f"app@{digests[n % 2]}"), Place("k8s.yaml", n)) for n in range(1, 1001)]
    first, second = world.decide(*places)
    assert len(first.image.found) == len(second.image.found) == 500
    assert requests(world) == {"GET _trust": 1}


def test_a_thousand_tags_are_one_request_and_one_head_each(world: World) -> None:
    _, state = with_tags(world, [f"v{number}" for number in range(1000)])
    names = [world.name(f"app:v{number}") for number in range(1000)]
    assert {decision.verdict for decision in world.decide(*names)} == {"trusted"}
    found = requests(world)
    assert found.pop("GET _trust") == 1
    assert found.pop(f"GET {Digest.of(state.role('targets'))}") == 1
    assert found == {f"HEAD v{number}": 1 for number in range(1000)}


def test_a_token_is_asked_for_once_and_no_request_twice_after_it(world: World) -> None:
    with_tags(world, [f"v{number}" for number in range(20)])
    world.server.bearer = True
    names = [world.name(f"app:v{number}") for number in range(20)]
    assert {decision.verdict for decision in world.decide(*names)} == {"trusted"}
    assert len(world.server.token_requests) == 1
    assert [request.status for request in world.server.requests].count(401) == 1
    found = requests(world)
    assert found.pop("GET _trust") == 2  # the one that was asked who it is
    assert set(found.values()) == {1}


def test_many_repositories_are_refreshed_once_each(world: World) -> None:
    for number in range(20):
        with_tags(world, ["v1", "v2"], f"r{number}")
    names = [world.name(f"r{number}:v{tag}") for tag in (1, 2) for number in range(20)]
    assert {decision.verdict for decision in world.decide(*names)} == {"trusted"}
    assert [str(item.image.name) for item in world.decide(*names)] == names  # in the order they were asked
    assert requests(world)["GET _trust"] == 40


def test_what_no_rule_wants_judged_costs_nothing(world: World) -> None:
    by = policy('[[rule]]\npattern = "localhost:*/off"\nmode = "off"\n')
    off, nothing = world.decide(world.name("off:v1"), "nginx", by=by)
    assert (off.outcome, off.verdict, off.findings) == (Outcome.OFF, "off", ())
    assert (nothing.outcome, nothing.verdict) == (Outcome.REFUSED, "disallowed")
    assert world.opened == []
    assert world.server.requests == ()


def test_a_registry_that_hangs_costs_its_own_images_only(world: World, tmp_path: Path) -> None:
    with_tags(world, ["v1"])
    with FaultyRegistry() as slow:
        slow.fail("*", "/v2/", Hang(), times=None)

        def open_store(asked: StoreName) -> Store:
            assert asked.repository is not None
            return World(slow if asked.repository.registry == slow.host else world.server, tmp_path).store(
                asked.repository.path
            )

        names = [f"{slow.host}/r{number}:v1" for number in range(12)]
        begin = time.monotonic()
        decisions = world.decide(*names, world.name("app:v1"), open_store=open_store, timeout=1)
        assert time.monotonic() - begin < 4
    assert [item.verdict for item in decisions] == ["unreachable"] * 12 + ["trusted"]
    assert "1 seconds" in decisions[0].findings[0].message
    assert "--timeout" in decisions[0].findings[0].advice


def test_a_store_that_cannot_be_opened_is_its_images_loss(world: World) -> None:
    def open_store(asked: StoreName) -> Store:
        raise UnreachableError(f"{asked} is out of reach")

    assert world.one("nginx:1", open_store=open_store).outcome is Outcome.UNREACHABLE


def test_a_defect_is_no_verdict(world: World) -> None:
    def open_store(asked: StoreName) -> Store:
        raise ZeroDivisionError(str(asked))

    with pytest.raises(ZeroDivisionError):
        world.one("nginx:1", open_store=open_store)


# Other moments


def test_the_memory_stands_in_the_real_time_whatever_moment_is_judged(world: World) -> None:
    """Judging the past is no rollback, and judging the future remembers nothing that is expired now."""
    with_tags(world, ["v1"])
    assert world.one(world.name("app:v1"), at=NOW - timedelta(days=300)).verdict == "trusted"
    assert world.one(world.name("app:v1"), at=NOW + timedelta(days=13)).verdict == "trusted"
    assert world.one(world.name("app:v1"), at=LATER).verdict == "expired"
    assert world.one(world.name("app:v1")).verdict == "trusted"


def test_a_folder_is_judged_as_what_it_is_a_copy_of(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    image, blobs = an_image()
    team = a_team("ghcr.io/acme/app")
    state = team.first(target_of(image))
    layout = Layout(folder)
    put_image(layout, image, blobs, "v1")
    put_state(layout, state)
    world.pins.append(replace(team.pin(state), repository=layout.repository, signed_as="ghcr.io/acme/app"))
    by = policy('[[rule]]\npattern = "ghcr.io/acme/*"\nsigners = "any"\n')
    decision = world.one(f"oci:{folder}:v1", by=by, open_store=lambda _: Layout(folder))
    assert decision.verdict == "trusted"
    assert decision.image.repository == "ghcr.io/acme/app"
    assert world.server.requests == ()
