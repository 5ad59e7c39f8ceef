"""The registration of a partner as decisions: chapter Credentials, with HTTP 405 as NOT_ALLOWED."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest

from commands.base import Command, Refusal
from commands.partner import (
    ROUTES,
    BeginHandshake,
    CreatePartner,
    FailHandshake,
    GrantRoles,
    RefuseRoles,
    Register,
    ReissueTokenA,
    Remove,
    RequestRoles,
    Resume,
    Suspend,
    Unregister,
    UpdateCredentials,
)
from domain.partner import (
    AGGREGATE_EVENTS,
    CredentialsUpdated,
    Endpoint,
    Partner,
    PartnerConnection,
    PartnerRole,
    Secret,
)
from tests.commands.decide import NOON, Decide

ID = "tnm"
ROLE = PartnerRole(role="EMSP", country_code="NL", party_id="TNM", business_details={"name": "TNM"})
A = Secret(digest="a1", sealed="s1.k.a")


def connection(digest: str = "c1", version: str = "2.3.0") -> PartnerConnection:
    return PartnerConnection(
        version=version,
        versions_url="https://tnm.example/versions",
        endpoints=(Endpoint(identifier="credentials", role="SENDER", url="https://tnm.example/credentials"),),
        roles=(ROLE,),
        token_b="s1.k.b",
        token_c=Secret(digest=digest, sealed="s1.k.c"),
    )


def case() -> Decide:
    return Decide(Partner, AGGREGATE_EVENTS, ROUTES)


def planned() -> Decide:
    return case().do(CreatePartner(partner_id=ID, name="TNM", roles=(ROLE,), token_a=A))


def registered() -> Decide:
    return planned().do(Register(partner_id=ID, connection=connection(), token_a_digest="a1"))


def status(case: Decide) -> str:
    assert case.aggregate is not None
    return str(case.aggregate.state.status)


def test_a_partner_is_planned_until_it_registers() -> None:
    assert status(planned()) == "PLANNED"
    assert status(registered()) == "CONNECTED"


def test_a_partner_is_created_once_but_anew_after_it_was_removed() -> None:
    again = CreatePartner(partner_id=ID, name="TNM", roles=(ROLE,), token_a=A)
    assert planned().do(again).refusal is Refusal.ALREADY_EXISTS
    assert planned().do(Remove(partner_id=ID)).do(again).refusal is None


@pytest.mark.parametrize("id", ["", "a.b", "a|b", "a/b", "x" * 65])
def test_an_id_of_a_partner_is_of_letters_digits_dashes_and_underscores(id: str) -> None:
    made = case().do(CreatePartner(partner_id=id, name="", roles=(ROLE,), token_a=A))
    assert made.refusal is Refusal.INVALID


def test_a_partner_needs_a_role_and_a_token_of_theirs_needs_a_url() -> None:
    assert case().do(CreatePartner(partner_id=ID, name="", roles=(), token_a=A)).refusal is Refusal.INVALID
    theirs = CreatePartner(partner_id=ID, name="", roles=(ROLE,), token_a=A, their_token_a="s1.k.t")
    assert case().do(theirs).message == "versions_url: is required with a token of theirs"


def test_registering_when_registered_is_not_allowed_HTTP_405() -> None:
    again = registered().do(Register(partner_id=ID, connection=connection("c2"), token_a_digest="a1"))
    assert (again.refusal, again.new) == (Refusal.NOT_ALLOWED, [])


@pytest.mark.parametrize(
    "command",
    [UpdateCredentials(partner_id=ID, connection=connection()), Unregister(partner_id=ID)],
    ids=["PUT", "DELETE"],
)
def test_changing_or_ending_what_is_not_registered_is_not_allowed_HTTP_405(command: Command) -> None:
    assert planned().do(command).refusal is Refusal.NOT_ALLOWED


def test_a_token_a_that_was_replaced_meanwhile_registers_nobody() -> None:
    renewed = planned().do(ReissueTokenA(partner_id=ID, token_a=Secret(digest="a2", sealed="s1.k.a2")))
    old = renewed.do(Register(partner_id=ID, connection=connection(), token_a_digest="a1"))
    assert old.refusal is Refusal.NOT_ALLOWED
    new = renewed.do(Register(partner_id=ID, connection=connection(), token_a_digest="a2"))
    assert new.refusal is None


def begun(case: Decide, digest: str = "c1", update: bool = False) -> Decide:
    return case.do(
        BeginHandshake(partner_id=ID, token_c=Secret(digest=digest, sealed="s1.k.c"), update=update)
    )


def test_our_own_handshake_needs_no_token_a_of_ours_but_its_own_beginning() -> None:
    ours = Register(partner_id=ID, connection=connection(), initiator="us")
    assert planned().do(ours).refusal is Refusal.CONFLICT
    assert begun(planned(), "other").do(ours).refusal is Refusal.CONFLICT
    assert status(begun(planned()).do(ours)) == "CONNECTED"


def test_our_own_new_credentials_need_their_beginning_too() -> None:
    ours = UpdateCredentials(partner_id=ID, connection=connection("c2"), initiator="us")
    assert registered().do(ours).refusal is Refusal.CONFLICT
    assert begun(registered(), "c2", update=True).do(ours).refusal is None


def test_a_handshake_of_ours_begins_where_its_end_would_be_allowed() -> None:
    assert begun(registered()).refusal is Refusal.NOT_ALLOWED
    assert begun(planned(), update=True).refusal is Refusal.NOT_ALLOWED


def test_a_failed_handshake_of_ours_leaves_everything_as_it_was() -> None:
    fail = FailHandshake(partner_id=ID, digest="c1", reason="3001")
    failed = begun(planned()).do(fail)
    assert failed.aggregate is not None and failed.aggregate.state == planned().aggregate.state  # type: ignore[union-attr]
    assert failed.do(fail).new == []


def test_new_credentials_leave_the_old_token_a_short_grace() -> None:
    updated = registered().do(
        UpdateCredentials(partner_id=ID, connection=connection("c2"), instead_of="c1"), 60
    )
    (event,) = updated.new
    assert isinstance(event, CredentialsUpdated)
    assert event.previous_until == NOON + timedelta(seconds=90)
    assert updated.aggregate is not None and updated.aggregate.state.previous_c.digest == "c1"


def test_of_two_updates_at_once_the_second_is_a_conflict() -> None:
    first = UpdateCredentials(partner_id=ID, connection=connection("c2"), instead_of="c1")
    second = msgspec.structs.replace(first, connection=connection("c3"))
    assert registered().do(first).do(second).refusal is Refusal.CONFLICT


def test_a_registration_ends_and_begins_again_with_a_new_token_a() -> None:
    ended = registered().do(Unregister(partner_id=ID))
    assert status(ended) == "OFFLINE"
    assert ended.do(Register(partner_id=ID, connection=connection(), token_a_digest="a1")).refusal is not None
    ended.do(ReissueTokenA(partner_id=ID, token_a=Secret(digest="a2", sealed="s1.k.a2")))
    ended.do(Register(partner_id=ID, connection=connection("c9"), token_a_digest="a2"))
    assert status(ended) == "CONNECTED"


def test_a_registered_partner_gets_no_token_a() -> None:
    assert registered().do(ReissueTokenA(partner_id=ID, token_a=A)).refusal is Refusal.NOT_ALLOWED


def test_a_suspension_is_said_and_undone_once() -> None:
    held = registered().do(Suspend(partner_id=ID, reason="unpaid"))
    assert status(held) == "SUSPENDED"
    assert held.do(Suspend(partner_id=ID)).new == []
    assert status(held.do(Resume(partner_id=ID))) == "CONNECTED"
    assert held.do(Resume(partner_id=ID)).new == []


@pytest.mark.parametrize(
    "command",
    [
        ReissueTokenA(partner_id=ID, token_a=A),
        Register(partner_id=ID, connection=connection(), token_a_digest="a1"),
        UpdateCredentials(partner_id=ID, connection=connection()),
        Unregister(partner_id=ID),
        Suspend(partner_id=ID),
        Resume(partner_id=ID),
        Remove(partner_id=ID),
    ],
    ids=lambda command: type(command).__name__,
)
def test_nothing_can_be_asked_of_an_unknown_or_removed_partner(command: Command) -> None:
    assert case().do(command).refusal is Refusal.UNKNOWN
    assert planned().do(Remove(partner_id=ID)).do(command).refusal is Refusal.UNKNOWN


OTHER = PartnerRole(role="CPO", country_code="DE", party_id="BMW", business_details={"name": "BMW"})


def with_roles(*roles: PartnerRole, digest: str = "c1") -> PartnerConnection:
    return msgspec.structs.replace(connection(digest), roles=roles)


def roles(case: Decide) -> tuple[list[str], list[str]]:
    """The parties that count, and those that wait."""
    assert case.aggregate is not None
    state = case.aggregate.state
    return [role.party for role in state.roles], [role.party for role in state.requested]


def test_a_registration_with_none_of_the_granted_roles_is_refused() -> None:
    as_cpo = msgspec.structs.replace(ROLE, role="CPO")
    for wanted in (OTHER, as_cpo):
        made = planned().do(Register(partner_id=ID, connection=with_roles(wanted), token_a_digest="a1"))
        assert (made.refusal, made.new) == (Refusal.INVALID, [])
        assert f"CPO {wanted.party}" in made.message


def test_what_is_granted_counts_and_the_rest_waits_until_it_is_granted_or_refused() -> None:
    both = with_roles(ROLE, OTHER)
    made = planned().do(Register(partner_id=ID, connection=both, token_a_digest="a1"))
    assert roles(made) == (["NL*TNM"], ["DE*BMW"])
    assert roles(made.do(GrantRoles(partner_id=ID, roles=(OTHER,)))) == (["NL*TNM", "DE*BMW"], [])
    assert made.do(GrantRoles(partner_id=ID, roles=(OTHER,))).new == []
    made = planned().do(Register(partner_id=ID, connection=both, token_a_digest="a1"))
    assert roles(made.do(RefuseRoles(partner_id=ID, roles=(OTHER,), reason="no"))) == (["NL*TNM"], [])
    assert made.do(RefuseRoles(partner_id=ID, roles=(OTHER,))).refusal is Refusal.UNKNOWN
    again = UpdateCredentials(partner_id=ID, connection=with_roles(ROLE, OTHER, digest="c2"))
    assert roles(made.do(again)) == (["NL*TNM"], ["DE*BMW"])


def test_a_role_that_was_granted_beforehand_counts_with_the_registration() -> None:
    made = planned().do(GrantRoles(partner_id=ID, roles=(OTHER,)))
    assert roles(made) == (["NL*TNM"], [])
    made.do(Register(partner_id=ID, connection=with_roles(ROLE, OTHER), token_a_digest="a1"))
    assert roles(made) == (["NL*TNM", "DE*BMW"], [])


def test_roles_that_wait_are_asked_for_once() -> None:
    made = planned().do(RequestRoles(partner_id=ID, roles=(OTHER, ROLE)))
    assert roles(made) == (["NL*TNM"], ["DE*BMW"])
    assert made.do(RequestRoles(partner_id=ID, roles=(OTHER,))).new == []


def test_a_suspended_partner_neither_registers_nor_changes_its_credentials() -> None:
    new = UpdateCredentials(partner_id=ID, connection=connection("c2"))
    assert registered().do(Suspend(partner_id=ID)).do(new).refusal is Refusal.NOT_ALLOWED
    first = Register(partner_id=ID, connection=connection(), token_a_digest="a1")
    assert planned().do(Suspend(partner_id=ID)).do(first).refusal is Refusal.NOT_ALLOWED
    begin = BeginHandshake(partner_id=ID, token_c=Secret(digest="c3", sealed="s1.k.x"))
    assert planned().do(Suspend(partner_id=ID)).do(begin).refusal is Refusal.NOT_ALLOWED
