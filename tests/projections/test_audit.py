"""The audit: what persons asked for, and what came of it."""

from __future__ import annotations

import pytest

from commands.base import Refusal
from projections.audit import audit_writes, indexes
from projections.story import DecisionInLog
from tests.projections.facts import decision, fact, meta, started


def asked(principal: str, tenant: str = "demo", refusal: Refusal | None = None) -> DecisionInLog:
    about = meta(principal=principal, tenant=tenant)
    return fact(decision(started(), command="session.start.v1", meta=about, refusal=refusal))


def test_what_a_person_asked_for_stands_in_its_tenants_audit() -> None:
    [line] = audit_writes(asked("operator:ann"))

    assert (line.db, line.collection) == ("ocpp_demo", "audit")
    names = ("principal", "command", "events", "refusal", "at")
    assert [line.document[name] for name in names] == [
        "operator:ann",
        "session.start.v1",
        ["session.started.v1"],
        None,
        "2026-03-01T12:00:00.000Z",
    ]


def test_a_refusal_is_audited_by_its_name() -> None:
    [line] = audit_writes(asked("viewer:ann", refusal=Refusal.NOT_ALLOWED))

    assert line.document["refusal"] == "not_allowed"


def test_what_was_asked_of_no_tenant_stands_in_the_platforms_audit() -> None:
    [line] = audit_writes(asked("platform_admin:root", tenant=""))

    assert line.db == "chargesphere"


@pytest.mark.parametrize("principal", ["", "gateway", "process", "charge_point:CP1", "DE*MSP", "operator"])
def test_gateways_partners_and_processes_are_no_persons(principal: str) -> None:
    assert audit_writes(asked(principal)) == []


def test_every_list_of_the_audit_has_its_index() -> None:
    assert [[sort.field for sort in spec.fields] for spec in indexes("ocpp_demo")] == [
        ["at"],
        ["principal", "at"],
    ]
