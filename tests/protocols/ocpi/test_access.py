"""Who may call what: the table of role, module and method against the chapters of the standard."""

from __future__ import annotations

import pytest

from api.ocpi.routes import MODULES
from protocols.ocpi.access import BROADCAST, RULES, rule
from protocols.ocpi.v2_3_0.enums import ModuleID, Role


def who(version: str, interface: str, module: str, method: str, path: str = "") -> set[str] | None:
    row = rule(version, interface, module, method, tuple(path.split("/")) if path else ())
    return set(row.allowed) if row else None


@pytest.mark.parametrize(
    ("interface", "module", "method", "path", "roles"),
    [
        ("receiver", "tokens", "PUT", "NL/TNM/1", {"EMSP"}),
        ("receiver", "tokens", "DELETE", "NL/TNM/1", None),  # a token is never deleted: valid=false
        ("sender", "tokens", "POST", "1/authorize", {"CPO"}),
        ("receiver", "locations", "PATCH", "NL/CPO/L1/E1/1", {"CPO"}),
        ("receiver", "locations", "DELETE", "NL/CPO/L1", None),  # an EVSE becomes REMOVED
        ("sender", "locations", "GET", "L1/E1/1", {"EMSP", "NAP", "NSP", "OTHER"}),
        ("receiver", "sessions", "PATCH", "NL/CPO/S1", {"CPO"}),
        ("sender", "sessions", "GET", "", {"EMSP", "SCSP"}),
        ("receiver", "cdrs", "POST", "", {"CPO"}),
        ("receiver", "cdrs", "PUT", "NL/CPO/C1", None),  # a CDR never changes
        ("sender", "cdrs", "GET", "", {"EMSP"}),
        ("receiver", "tariffs", "DELETE", "NL/CPO/T1", {"CPO"}),
        ("receiver", "tariffs", "PATCH", "NL/CPO/T1", None),  # gone since 2.2
        ("receiver", "commands", "POST", "START_SESSION", {"EMSP", "OTHER"}),
        ("receiver", "chargingprofiles", "PUT", "S1", {"EMSP", "SCSP"}),
    ],
)
def test_each_call_is_for_the_roles_of_its_chapter_and_others_do_not_exist(
    interface: str, module: str, method: str, path: str, roles: set[str] | None
) -> None:
    for version in ("2.2.1", "2.3.0"):
        assert who(version, interface, module, method, path) == roles


@pytest.mark.parametrize("module", ["bookings", "payments", "invoicereconciliation"])
def test_modules_that_2_3_0_brought_do_not_exist_in_2_2_1(module: str) -> None:
    rows = [row for row in RULES if row.module == module]
    assert rows
    assert {row.versions for row in rows} == {("2.3.0",)}
    assert who("2.2.1", "receiver", "invoicereconciliation", "POST") is None
    assert who("2.3.0", "receiver", "invoicereconciliation", "POST") == {"CPO", "EMSP"}


def test_every_row_names_roles_and_modules_of_the_standard_and_no_call_has_two_rows() -> None:
    modules = {str(module) for module in ModuleID} | {"bookings", "payments", "invoicereconciliation"}
    calls = [(row.interface, row.module, method, row.path) for row in RULES for method in row.methods.split()]
    assert len(set(calls)) == len(calls)
    for row in RULES:
        assert row.module in modules and row.interface in ("sender", "receiver"), row
        assert row.allowed and row.allowed <= set(Role.__members__), row


def test_what_is_pushed_to_all_goes_to_the_opposite_role_and_sessions_and_cdrs_never() -> None:
    assert {module for module, _ in BROADCAST} == {"tokens", "locations", "tariffs"}
    for (module, role), receivers in BROADCAST.items():
        assert role not in receivers
        assert any(
            role in row.allowed for row in RULES if (row.interface, row.module) == ("receiver", module)
        )


def test_every_call_that_is_served_has_its_row() -> None:
    for (interface, module), table in MODULES.items():
        for method, depth in table:
            for version in ("2.2.1", "2.3.0"):
                paths = [("x",) * depth, ("x",) * (depth - 1) + ("authorize",)]
                assert any(rule(version, interface, module, method, path) for path in paths), (module, method)
