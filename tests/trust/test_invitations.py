"""Invitations: who is invited makes the key; who approves decides."""

from __future__ import annotations

import contextlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st
from securesystemslib.signer import CryptoSigner

from tests.trust.teams import Crew
from tests.trust.writing import folder
from trust.errors import TamperedError, UsageError
from trust.invitations import (
    INVITATION_TYPE,
    KEY,
    WORDS,
    Invitation,
    accept,
    answered,
    invite,
    open_invitations,
)
from trust.oci.reference import TRUST_TAG_PREFIX
from trust.rolefiles import encode_files, put_files

if TYPE_CHECKING:
    from tests.trust.writing import People, Person
    from trust.oci.store import Store

CAROL = Invitation("carol", ("v*",), 90)


@pytest.fixture
def crew(people: People) -> Crew:
    crew = Crew(people, folder(people))
    crew.found()
    return crew


def answer(crew: Crew, who: Person, invitation: Invitation = CAROL) -> str:
    key = who.keys.find(invitation.name)
    return accept(who.writer(crew.store), invitation, who.keys.signer(key), who.now)


def planted(store: Store, annotations: dict[str, str], files: dict[str, bytes], kind: str = INVITATION_TYPE) -> None:
    """What anybody who may push can put there."""
    manifest = encode_files(files, kind, annotations=annotations)
    put_files(store, manifest, files, f"{TRUST_TAG_PREFIX}-invitation.{manifest.digest.hex[:12]}")


class TestStory:
    def test_invited_accepted_approved_and_signing(self, crew: Crew) -> None:
        ann, carol = crew("ann"), crew("carol", "carol")
        invite(ann.writer(crew.store), CAROL)
        assert open_invitations(crew.store) == (CAROL,)
        assert answered(ann.writer(crew.store), ann.now) == ()
        answer(crew, carol)
        assert open_invitations(crew.store) == (CAROL,)
        outcome = crew.approve(ann)
        assert outcome.state is not None
        signed = crew.push(carol, "v1", "of carol")
        assert carol.trusted_digest(crew.store, "v1") == signed
        role = ann.writer(crew.store).standing().role("carol")
        assert (role.keyids, role.threshold) == ([crew.key_id("carol")], 1)
        assert ann.writer(crew.store).standing().terms.period("carol").expires_days == 90
        assert crew.proposals(ann) == (), "an answer that was approved is done"

    def test_a_name_that_was_a_signer_before_goes_on_above_its_old_version(self, crew: Crew) -> None:
        ann, carol = crew("ann"), crew("carol", "carol")
        crew.add(ann, "carol", "root")
        before = ann.writer(crew.store).standing().versions["carol"]
        crew.remove(ann, "carol")
        invite(ann.writer(crew.store), CAROL)
        answer(crew, carol)
        crew.approve(ann)
        assert ann.writer(crew.store).standing().versions["carol"] == before + 1

    def test_whoever_does_not_publish_waits_for_the_next_publisher(self, crew: Crew) -> None:
        ann, carol = crew("ann"), crew("carol", "carol")
        quiet = replace(CAROL, publishes=False)
        invite(ann.writer(crew.store), quiet)
        answer(crew, carol, quiet)
        crew.approve(ann)
        assert crew.key_id("carol") not in ann.writer(crew.store).standing().root.roles["timestamp"].keyids


class TestRefusals:
    @pytest.mark.parametrize("name", ["root", "releases", "Carol", "", "a" * 33, "a-b"])
    def test_a_name_that_no_signer_may_have(self, crew: Crew, name: str) -> None:
        with pytest.raises(UsageError, match="invalid signer name"):
            invite(crew("ann").writer(crew.store), Invitation(name))

    def test_a_signer_that_is_there(self, crew: Crew) -> None:
        crew.add(crew("ann"), "carol", "root")
        with pytest.raises(UsageError, match="there is a signer 'carol' already"):
            invite(crew("ann").writer(crew.store), CAROL)

    def test_an_answer_to_a_name_that_became_a_signer_is_passed_over(self, crew: Crew) -> None:
        ann, carol = crew("ann"), crew("carol", "carol")
        invite(ann.writer(crew.store), CAROL)
        answer(crew, carol)
        crew.add(ann, "carol", "root")
        assert answered(ann.writer(crew.store), ann.now) == ()


class TestPlanted:
    """Anybody who may push can plant invitations and answers; nothing of them is trusted."""

    def test_a_first_file_signed_by_another_key_still_lacks_the_signature(self, crew: Crew) -> None:
        ann, eve = crew("ann"), crew("eve", "eve")
        invited = replace(CAROL, name="eve")
        manifest = crew.store.get_manifest(answer(crew, eve, invited))
        data = crew.store.read_blob(manifest.layers[0], 1 << 20)
        public = {"id": crew.key_id("carol"), **crew.key("carol").to_dict()}
        planted(crew.store, {WORDS: invited.to_text(), KEY: json.dumps(public)}, {"1.eve.json": data})
        lacking = [item.proposed.lacking_words() for item in answered(ann.writer(crew.store), ann.now)]
        assert sorted("1 of eve" in words for words in lacking) == [False, True]

    @pytest.mark.parametrize(
        "annotations",
        [
            {},
            {WORDS: "not json"},
            {WORDS: "[]"},
            {WORDS: '{"name": "root", "patterns": [], "publishes": true}'},
            {WORDS: '{"name": "carol", "patterns": [1], "publishes": true}'},
            {WORDS: '{"name": "carol", "patterns": [], "publishes": true, "expires": 0}'},
            {WORDS: CAROL.to_text(), KEY: "{}"},
            {WORDS: CAROL.to_text(), KEY: '{"id": "00", "keytype": "ed25519", "scheme": "ed25519", "keyval": {}}'},
        ],
    )
    def test_malformed_ones_are_left_out(self, crew: Crew, annotations: dict[str, str]) -> None:
        ann = crew("ann")
        planted(crew.store, annotations, {"1.carol.json": b"{}"})
        assert answered(ann.writer(crew.store), ann.now) == ()
        assert set(open_invitations(crew.store)) <= {CAROL}

    def test_a_forged_key_id(self, crew: Crew) -> None:
        ann = crew("ann")
        key = CryptoSigner.generate_ed25519().public_key
        public = {"id": crew.key_id("root"), **key.to_dict()}
        planted(crew.store, {WORDS: CAROL.to_text(), KEY: json.dumps(public)}, {"1.carol.json": b"{}"})
        assert answered(ann.writer(crew.store), ann.now) == ()

    def test_a_manifest_of_another_kind(self, crew: Crew) -> None:
        planted(crew.store, {WORDS: CAROL.to_text()}, {}, "application/vnd.example")
        assert open_invitations(crew.store) == ()

    def test_a_role_file_that_is_a_root(self, crew: Crew) -> None:
        ann = crew("ann")
        root = ann.writer(crew.store).standing().state.root
        public = {"id": crew.key_id("root"), **crew.key("root").to_dict()}
        planted(crew.store, {WORDS: CAROL.to_text(), KEY: json.dumps(public)}, {"1.root.json": root})
        assert answered(ann.writer(crew.store), ann.now) == ()


@given(st.text() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_only_our_errors_leave_the_parser(text: str) -> None:
    with contextlib.suppress(TamperedError, UsageError):
        Invitation.parse(text)


def test_it_reads_what_it_writes() -> None:
    assert Invitation.parse(CAROL.to_text()) == CAROL
