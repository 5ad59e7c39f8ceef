"""Partners as they are read: who may come in, and where we send to."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from domain.partner import AGGREGATE_EVENTS, Partner
from projections.moment import utc_text
from projections.partner import VIEW
from projections.store import Document
from tests.commands.decide import NOON
from tests.projections.fold import fold


def read(*names: str) -> Document | None:
    return fold(VIEW, Partner, AGGREGATE_EVENTS, *(f"partner.{name}.v1" for name in names))


def known(*names: str) -> Document:
    document = read(*names)
    assert document is not None
    return document


@pytest.mark.parametrize(
    ("story", "status", "digests"),
    [
        (("created",), "PLANNED", ["aa11"]),
        (("created", "token_a_reissued"), "PLANNED", ["aa22"]),
        (("created", "handshake_begun"), "PLANNED", ["aa11", "cc33"]),
        (("created", "handshake_begun", "handshake_failed"), "PLANNED", ["aa11"]),
        (("created", "handshake_begun", "registered"), "CONNECTED", ["cc11"]),
        (("created", "registered"), "CONNECTED", ["cc11"]),
        (("created", "registered", "credentials_updated"), "CONNECTED", ["cc22", "cc11"]),
        (("created", "registered", "unregistered"), "OFFLINE", []),
        (("created", "registered", "unregistered", "token_a_reissued"), "PLANNED", ["aa22"]),
        (("created", "suspended", "registered"), "SUSPENDED", ["cc11"]),
        (("created", "suspended", "registered", "resumed"), "CONNECTED", ["cc11"]),
        (("created", "suspended", "resumed"), "PLANNED", ["aa11"]),
    ],
)
def test_status_and_the_tokens_that_open_a_door(
    story: tuple[str, ...], status: str, digests: list[str]
) -> None:
    partner = known(*story)
    assert (partner["status"], partner["digests"]) == (status, digests)


def test_a_registered_partner_has_its_endpoints_and_parties() -> None:
    partner = known("created", "registered")
    assert partner["ocpi_version"] == "2.2.1"
    assert partner["parties"] == ["NL*TNM"]
    assert {
        "identifier": "sessions",
        "role": "RECEIVER",
        "url": "https://tnm.example/ocpi/2.2.1/sessions",
    } in partner["endpoints"]  # type: ignore[operator]
    assert (partner["sealed_a"], partner["sealed_b"], partner["sealed_c"]) == (None, "s1.k.bbbb", "s1.k.cccc")


def test_the_old_token_has_an_end() -> None:
    partner = known("created", "registered", "credentials_updated")
    assert (partner["grace"], partner["grace_until"]) == ("cc11", utc_text(NOON + timedelta(seconds=30)))
    assert partner["ocpi_version"] == "2.3.0"


def test_a_removed_partner_is_gone() -> None:
    assert read("created", "registered", "removed") is None


def test_a_field_named_token_holds_no_token() -> None:
    text = json.dumps(known("created", "registered", "credentials_updated"))
    assert '"token' not in text.replace('"token_raw": false', "")


def named(roles: object) -> list[str]:
    assert isinstance(roles, list)
    return [f"{role['role']} {role['country_code']}*{role['party_id']}" for role in roles]


TNM, BMW = "EMSP NL*TNM", "CPO DE*BMW"


@pytest.mark.parametrize(
    ("story", "roles", "granted", "requested"),
    [
        (("created",), [TNM], [TNM], []),
        (("created", "roles_requested"), [TNM], [TNM], [BMW]),
        (("created", "roles_requested", "roles_granted"), [TNM], [TNM, BMW], []),
        (("created", "registered"), [TNM], [TNM], [BMW]),
        (("created", "registered", "roles_granted"), [TNM, BMW], [TNM, BMW], []),
        (("created", "registered", "roles_refused"), [TNM], [TNM], []),
        (("created", "registered", "roles_refused", "roles_granted"), [TNM], [TNM, BMW], []),
        (("created", "registered", "unregistered"), [TNM], [TNM], []),
    ],
)
def test_roles_are_read_as_they_count_and_those_that_wait_beside_them(
    story: tuple[str, ...], roles: list[str], granted: list[str], requested: list[str]
) -> None:
    partner = known(*story)
    assert (named(partner["roles"]), named(partner["granted_roles"])) == (roles, granted)
    assert (named(partner["requested_roles"]), partner["waiting"]) == (requested, bool(requested))
    assert partner["parties"] == [role.partition(" ")[2] for role in roles]


def test_what_it_receives_is_read_by_role_and_module() -> None:
    assert known("created")["receives"] == []
    assert known("created", "registered")["receives"] == ["EMSP|sessions"]
    assert known("created", "registered", "roles_granted")["receives"] == ["CPO|sessions", "EMSP|sessions"]
    assert known("created", "registered", "unregistered")["receives"] == []


def test_each_life_of_a_partner_is_another_holder() -> None:
    assert known("created", "registered", "credentials_updated")["holder"] == "tnm@2026-03-01T12:00:00+00:00"
