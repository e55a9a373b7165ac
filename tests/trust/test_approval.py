"""Two of three, from machines of their own: in any order, at once, by file, on a real registry."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import permutations
from threading import Barrier
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings

from tests.trust.mutations import Mutation, bent_bytes, mutations
from tests.trust.teams import Crew, a_crew
from tests.trust.writing import live, remote, then
from trust.approval import (
    MAX_FILE_BYTES,
    approve,
    export_file,
    import_file,
    open_file,
    open_proposals,
    reject,
    sign_file,
)
from trust.errors import (
    ConflictError,
    DocksealError,
    RollbackError,
    TamperedError,
    UnsignedError,
    UntrustedRootError,
    UsageError,
)
from trust.oci.retry import RetryPolicy
from trust.proposals import find, tags_of
from trust.repo import refresh

if TYPE_CHECKING:
    from tests.doubles.faulty_registry import FaultyRegistry
    from tests.trust.writing import People, Person
    from trust.proposals import Proposal
    from trust.team import Outcome

ABC = ("root", "root-b", "root-c")
NEXT = "root-d"


def two_of_three(crew: Crew, *more: str) -> dict[str, Person]:
    """Three homes with one root key each, and ``more`` keys; two must agree."""
    crew.found(roles={"root": ABC}, thresholds={"root": 2})
    return {label: crew(f"home of {label}", label, *more) for label in ABC}


def proposed(crew: Crew, who: Person) -> Outcome:
    return crew.rotate(who, "root", add=(NEXT,))


@pytest.fixture
def crew(people: People) -> Crew:
    return a_crew(people)


@pytest.fixture
def real(people: People, registry: str, unique_name: str) -> Crew:
    return Crew(people, remote(registry, unique_name, policy=RetryPolicy()))


@pytest.mark.peer("docker-registry")
@pytest.mark.parametrize("order", list(permutations(ABC, 2)), ids="-".join)
def test_two_of_three_in_any_order(real: Crew, order: tuple[str, str]) -> None:
    homes = two_of_three(real, "publish")
    outcome = proposed(real, homes[order[0]])
    assert outcome.state is None
    assert outcome.proposed.lacking_words() == ("1 of the root so far", "1 of the new root")
    assert live(real.store).root.version == 1
    last = real.approve(homes[order[1]])
    assert last.state is not None
    assert live(real.store).root.version == 2
    assert real.key_id(NEXT) in live(real.store).root.roles["root"].keyids
    assert real.proposals(homes["root"]) == ()
    assert real.onlooker("eve").verdict(real.store, "v1") == "missing", "nothing is signed yet, and the state verifies"


@pytest.mark.peer("docker-registry")
@pytest.mark.parametrize("publish", [True, False], ids=["each may publish", "none may publish"])
def test_two_approve_at_once(real: Crew, publish: bool) -> None:
    """Both count, whoever is last; where none may publish, the next publisher does."""
    homes = two_of_three(real, *(("publish",) if publish else ()))
    real.rotate(real("ann"), "root", threshold=3)
    outcome = proposed(real, homes["root"])
    barrier = Barrier(2)

    def approves(label: str) -> Outcome | DocksealError:
        writer = homes[label].writer(real.store)
        proposal = find(open_proposals(writer, homes[label].now), outcome.proposal)
        barrier.wait()
        try:
            return approve(writer, proposal)
        except ConflictError as error:
            return error

    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(approves, ABC[1:]))
    assert not any(isinstance(result, UnsignedError) for result in results), results
    if not publish or live(real.store).root.version == 2:
        refresh(real("ann").writer(real.store))
    assert live(real.store).root.version == 3
    assert real.key_id(NEXT) in live(real.store).root.roles["root"].keyids


def test_the_second_stores_its_signature_while_the_first_does(people: People, server: FaultyRegistry) -> None:
    """Each has seen the proposal without the other's signature; whoever is last sees both, and publishes."""
    crew = Crew(people, remote(server.host))
    homes = two_of_three(crew, "publish")
    crew.rotate(crew("ann"), "root", threshold=3)
    outcome = proposed(crew, homes["root"])
    b, c = homes["root-b"], homes["root-c"]
    late = c.writer(crew.store)
    chosen = find(open_proposals(late, c.now), outcome.proposal)
    assert crew.approve(b).state is None
    last = approve(late, chosen)
    assert last.state is not None
    assert live(crew.store).root.version == 3


def test_both_publish_the_same_at_once(people: People, server: FaultyRegistry) -> None:
    """Two who complete one proposal make two states that say the same; one of them goes on, and both are told so."""
    crew = Crew(people, remote(server.host))
    homes = two_of_three(crew, "publish")
    outcome = proposed(crew, homes["root"])
    results: list[Outcome] = []
    c = homes["root-c"]
    writer = c.writer(crew.store)
    chosen = find(open_proposals(writer, c.now), outcome.proposal)
    server.fail("PUT", r"/manifests/_trust\.", then(lambda: results.append(approve(writer, chosen))))
    results.append(crew.approve(homes["root-b"]))
    assert [result.state is not None for result in results] == [True, True]
    assert live(crew.store).root.version == 2
    for who in ("b", "c"):
        refresh(homes[f"root-{who}"].writer(crew.store))
    assert live(crew.store).root.version == 2


def test_one_who_adds_nothing_is_told_whom_it_waits_for(crew: Crew) -> None:
    homes = two_of_three(crew)
    proposed(crew, homes["root"])
    with pytest.raises(UnsignedError, match="it waits for 1 of the root so far; 1 of the new root"):
        crew.approve(homes["root"])
    assert crew.approve(homes["root-b"]).state is None, "none of these homes may publish"
    with pytest.raises(UnsignedError, match="it waits for a publisher"):
        crew.approve(homes["root-c"])
    refresh(crew("ann").writer(crew.store))
    assert live(crew.store).root.version == 2


def test_whoever_may_publish_completes_it_by_approving(crew: Crew) -> None:
    homes = two_of_three(crew)
    outcome = proposed(crew, homes["root"])
    crew.approve(homes["root-b"])
    (proposal,) = crew.proposals(crew("ann"))
    assert proposal.proposed.is_complete
    assert crew.approve(crew("ann"), outcome.proposal).state is not None


def test_what_another_change_overtook_while_it_was_looked_at(crew: Crew) -> None:
    homes = two_of_three(crew, "publish")
    outcome = proposed(crew, homes["root"])
    b = homes["root-b"]
    writer = b.writer(crew.store)
    chosen = find(open_proposals(writer, b.now), outcome.proposal)
    crew.rotate(crew("ann"), "root", add=("root-e",))
    with pytest.raises(ConflictError):
        approve(writer, chosen)
    assert crew.key_id(NEXT) not in live(crew.store).root.keys


class TestRejecting:
    def test_removes_every_copy(self, crew: Crew) -> None:
        homes = two_of_three(crew)
        crew.rotate(crew("ann"), "root", threshold=3)
        proposed(crew, homes["root"])
        crew.approve(homes["root-b"])
        writer = homes["root-c"].writer(crew.store)
        (proposal,) = open_proposals(writer, homes["root-c"].now)
        reject(writer, proposal)
        assert crew.proposals(homes["root"]) == ()
        assert tags_of(crew.store.tags(100)) == ()
        with pytest.raises(UsageError, match="there is no proposal"):
            crew.approve(homes["root-c"], proposal.id)

    def test_where_the_registry_cannot_delete(self, people: People, server: FaultyRegistry) -> None:
        crew = Crew(people, remote(server.host))
        homes = two_of_three(crew)
        server.can_delete = server.can_untag = False
        proposed(crew, homes["root"])
        writer = homes["root"].writer(crew.store)
        (proposal,) = open_proposals(writer, homes["root"].now)
        reject(writer, proposal)
        assert crew.proposals(homes["root"]) == ()
        outcome = proposed(crew, homes["root"])
        assert [item.id for item in crew.proposals(homes["root-b"])] == [outcome.proposal], "proposed anew"

    def test_what_is_malformed_can_be_rejected_and_not_approved(self, crew: Crew) -> None:
        homes = two_of_three(crew)
        proposed(crew, homes["root"])
        bad = crew.store.get_manifest(tags_of(crew.store.tags(100))[0])
        raw = bad.raw.replace(b"2.root.json", b"2.rood.json")
        crew.store.put_manifest(type(bad).parse(raw), "_trust-proposal.ffffffffffff")
        tag = "_trust-proposal.ffffffffffff"
        with pytest.raises(TamperedError, match=f"proposal {tag}"):
            crew.approve(homes["root-b"], tag)
        writer = homes["root-b"].writer(crew.store)
        chosen = find(open_proposals(writer, homes["root-b"].now), tag)
        with pytest.raises(TamperedError, match=f"proposal {tag}"):
            export_file(writer, chosen)
        reject(writer, chosen)
        assert [item.problem for item in crew.proposals(homes["root"])] == [None]


class TestByFile:
    """A key on a machine with no network."""

    @pytest.fixture
    def homes(self, crew: Crew) -> dict[str, Person]:
        homes = two_of_three(crew, "publish")
        proposed(crew, homes["root"])
        return homes

    def exported(self, crew: Crew, who: Person) -> bytes:
        writer = who.writer(crew.store)
        (proposal,) = open_proposals(writer, who.now)
        return export_file(writer, proposal)

    def test_there_and_back(self, crew: Crew, homes: dict[str, Person]) -> None:
        data = self.exported(crew, homes["root"])
        offline = crew("offline", "root-b")
        offline_writer = offline.writer(crew.store)
        opened = open_file(offline_writer, data)
        assert opened.proposed.lacking_words() == ("1 of the root so far", "1 of the new root")
        assert opened.id == crew.proposals(homes["root"])[0].id
        signed = sign_file(offline_writer, opened)
        outcome = import_file(homes["root"].writer(crew.store), signed)
        assert outcome.state is not None
        assert live(crew.store).root.version == 2
        assert crew.proposals(homes["root"]) == ()

    def test_a_file_and_the_registry_both_count(self, crew: Crew) -> None:
        homes = two_of_three(crew, "publish")
        crew.rotate(crew("ann"), "root", threshold=3)
        proposed(crew, homes["root"])
        data = self.exported(crew, homes["root"])
        signed = sign_file(homes["root-b"].writer(crew.store), open_file(homes["root-b"].writer(crew.store), data))
        crew.approve(homes["root-c"])
        assert import_file(homes["root"].writer(crew.store), signed).state is not None

    def test_one_that_was_rejected_meanwhile_comes_back_with_the_file(self, crew: Crew) -> None:
        homes = two_of_three(crew)
        proposed(crew, homes["root"])
        data = self.exported(crew, homes["root"])
        writer = homes["root"].writer(crew.store)
        reject(writer, open_proposals(writer, homes["root"].now)[0])
        assert import_file(homes["root"].writer(crew.store), data).proposal is not None

    def test_nothing_to_add(self, crew: Crew, homes: dict[str, Person]) -> None:
        writer = homes["root"].writer(crew.store)
        with pytest.raises(UnsignedError, match="needs no signature that can be made here"):
            sign_file(writer, open_file(writer, self.exported(crew, homes["root"])))

    def test_the_state_went_on(self, crew: Crew, homes: dict[str, Person]) -> None:
        data = self.exported(crew, homes["root"])
        crew.approve(homes["root-b"])
        with pytest.raises(ConflictError, match="was overtaken"):
            import_file(homes["root"].writer(crew.store), data)

    def test_an_overtaken_one_is_not_exported(self, crew: Crew, homes: dict[str, Person]) -> None:
        crew.rotate(crew("ann"), "root", add=("root-e",))
        with pytest.raises(ConflictError, match="was overtaken"):
            self.exported(crew, homes["root"])

    @pytest.mark.parametrize(
        ("change", "error", "says"),
        [
            (
                lambda body: body.update(kind="other"),
                TamperedError,
                "no proposal that `dockseal approve --export` wrote",
            ),
            (lambda body: body.update(schema=2), TamperedError, "no proposal"),
            (lambda body: body.update(files=[]), TamperedError, "'files' is no map of role files"),
            (lambda body: body.update(state={"1.root.json": 7}), TamperedError, "'state' is no map of role files"),
            (lambda body: body["state"].pop("timestamp.json"), TamperedError, "the state is incomplete"),
            (lambda body: body["files"].update({"9.x.json": "{}"}), TamperedError, "has no signed part"),
        ],
    )
    def test_what_is_no_such_file(
        self, crew: Crew, homes: dict[str, Person], change: Mutation, error: type[DocksealError], says: str
    ) -> None:
        body = json.loads(self.exported(crew, homes["root"]))
        change(body)
        with pytest.raises(error, match=says):
            open_file(homes["root-b"].writer(crew.store), json.dumps(body).encode())

    def test_one_that_is_too_large(self, crew: Crew, homes: dict[str, Person]) -> None:
        with pytest.raises(TamperedError, match="expected at most 67108864"):
            open_file(homes["root-b"].writer(crew.store), bytes(MAX_FILE_BYTES + 1))

    def test_its_state_must_be_one_that_this_machine_trusts(
        self, crew: Crew, homes: dict[str, Person], people: People
    ) -> None:
        data = self.exported(crew, homes["root"])
        stranger = crew("stranger", "other-root")
        stranger.pins = []
        with pytest.raises(UntrustedRootError):
            open_file(stranger.writer(crew.store), data)
        crew.approve(homes["root-b"])
        refresh(homes["root-b"].writer(crew.store))
        with pytest.raises(RollbackError):
            open_file(homes["root-b"].writer(crew.store), data)


def test_fuzz_only_our_errors_leave_a_file(people: People) -> None:
    crew = a_crew(people)
    homes = two_of_three(crew)
    proposed(crew, homes["root"])
    writer = homes["root"].writer(crew.store)
    data = export_file(writer, open_proposals(writer, homes["root"].now)[0])

    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    @given(bent_bytes(data))
    def bytes_(bent: bytes) -> None:
        with suppress(DocksealError):
            open_file(writer, bent)

    @settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
    @given(mutations())
    def fields(mutate: Mutation) -> None:
        body = json.loads(data)
        mutate(body)
        with suppress(DocksealError):
            open_file(writer, json.dumps(body).encode())

    bytes_()
    fields()


def test_a_proposal_that_a_registry_changes_between_two_looks(people: People, server: FaultyRegistry) -> None:
    """What was shown is what is signed, whatever stands under its tag by then."""
    crew = Crew(people, remote(server.host))
    homes = two_of_three(crew)
    proposed(crew, homes["root"])
    writer = homes["root-b"].writer(crew.store)
    (proposal,) = open_proposals(writer, homes["root-b"].now)
    (tag,) = proposal.tags
    crew.store.put_manifest(crew.store.get_manifest("_trust"), tag)
    outcome = approve(writer, proposal)
    assert outcome.proposed.identity[:12] == proposal.id
    found: list[Proposal] = [item for item in crew.proposals(homes["root"]) if item.problem is None]
    assert [item.id for item in found] == [proposal.id]
