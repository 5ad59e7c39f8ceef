"""Who may call what: one table of role, module and method for each functional module of OCPI, by its chapters.

An interface is the one of whom is called: a hub that plays a module's Receiver is called by those who play its
Sender. The table says who is allowed, not what is served here. NAP, NSP and OTHER read what drivers are shown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

BOTH: Final = ("2.2.1", "2.3.0")
NEW: Final = ("2.3.0",)

OWNED: Final = "{country_code}/{party_id}/"
"""What the path of an object begins with whose owner is the caller itself."""


class Rule(NamedTuple):
    """One row: `methods` and `roles` (of the party that calls) with spaces; `path` is what follows the endpoint."""

    interface: str
    module: str
    methods: str
    path: str
    roles: str
    versions: tuple[str, ...] = BOTH

    @property
    def allowed(self) -> frozenset[str]:
        return frozenset(self.roles.split())

    @property
    def owned(self) -> bool:
        """Whether the path names the owner, which must be the caller in one of the roles."""
        return self.path.startswith(OWNED)


RULES: Final = (
    Rule("sender", "locations", "GET", "", "EMSP NAP NSP OTHER"),
    Rule("sender", "locations", "GET", "{location_id}", "EMSP NAP NSP OTHER"),
    Rule("sender", "locations", "GET", "{location_id}/{evse_uid}", "EMSP NAP NSP OTHER"),
    Rule("sender", "locations", "GET", "{location_id}/{evse_uid}/{connector_id}", "EMSP NAP NSP OTHER"),
    Rule("receiver", "locations", "GET PUT PATCH", OWNED + "{location_id}", "CPO"),
    Rule("receiver", "locations", "GET PUT PATCH", OWNED + "{location_id}/{evse_uid}", "CPO"),
    Rule("receiver", "locations", "GET PUT PATCH", OWNED + "{location_id}/{evse_uid}/{connector_id}", "CPO"),
    Rule("sender", "sessions", "GET", "", "EMSP SCSP"),
    Rule("sender", "sessions", "PUT", "{session_id}/charging_preferences", "EMSP"),
    Rule("receiver", "sessions", "GET PUT PATCH", OWNED + "{session_id}", "CPO"),
    Rule("sender", "cdrs", "GET", "", "EMSP"),
    Rule("receiver", "cdrs", "POST", "", "CPO"),
    Rule("receiver", "cdrs", "GET", "{cdr}", "CPO"),
    Rule("sender", "tariffs", "GET", "", "EMSP NAP NSP OTHER"),
    Rule("receiver", "tariffs", "GET PUT DELETE", OWNED + "{tariff_id}", "CPO"),
    Rule("sender", "tokens", "GET", "", "CPO"),
    Rule("sender", "tokens", "POST", "{token_uid}/authorize", "CPO"),
    Rule("receiver", "tokens", "GET PUT PATCH", OWNED + "{token_uid}", "EMSP"),
    Rule("receiver", "commands", "POST", "{command}", "EMSP OTHER"),
    Rule("sender", "commands", "POST", "{command}/{uid}", "CPO"),
    Rule("receiver", "chargingprofiles", "GET PUT DELETE", "{session_id}", "EMSP SCSP"),
    Rule("sender", "chargingprofiles", "POST", "{uid}", "CPO"),
    Rule("sender", "chargingprofiles", "PUT", "{session_id}", "CPO"),
    Rule("sender", "payments", "GET", "terminals", "CPO", NEW),
    Rule("sender", "payments", "GET PUT PATCH", "terminals/{terminal_id}", "CPO", NEW),
    Rule("sender", "payments", "POST", "terminals/activate", "CPO", NEW),
    Rule("sender", "payments", "POST", "terminals/{terminal_id}/deactivate", "CPO", NEW),
    Rule("sender", "payments", "GET", "financial-advice-confirmations", "CPO", NEW),
    Rule("sender", "payments", "GET", "financial-advice-confirmations/{id}", "CPO", NEW),
    Rule("receiver", "payments", "POST", "terminals", "OTHER", NEW),
    Rule("receiver", "payments", "GET", "terminals/{terminal_id}", "OTHER", NEW),
    Rule("receiver", "payments", "POST", "financial-advice-confirmations", "OTHER", NEW),
    Rule("receiver", "payments", "GET", "financial-advice-confirmations/{id}", "OTHER", NEW),
    Rule("sender", "bookings", "GET POST", "", "EMSP", NEW),
    Rule("sender", "bookings", "GET", "booking_locations", "EMSP", NEW),
    Rule("sender", "bookings", "GET", "booking_locations/{id}", "EMSP", NEW),
    Rule("sender", "bookings", "GET", "booking_locations/{id}/{calendar_id}", "EMSP", NEW),
    Rule("receiver", "bookings", "GET PUT PATCH", OWNED + "{booking_id}", "CPO", NEW),
    Rule("receiver", "bookings", "GET PUT PATCH", OWNED + "booking_locations/{id}", "CPO", NEW),
    Rule("receiver", "bookings", "GET PUT PATCH", OWNED + "booking_locations/{id}/{calendar_id}", "CPO", NEW),
    Rule("sender", "invoicereconciliation", "GET", "", "CPO EMSP", NEW),
    Rule("receiver", "invoicereconciliation", "POST", "", "CPO EMSP", NEW),
    Rule("receiver", "invoicereconciliation", "GET PUT DELETE", OWNED + "{id}", "CPO EMSP", NEW),
)
"""A payment terminal provider has no role of its own in the standard: it is OTHER."""

BROADCAST: Final[Mapping[tuple[str, str], frozenset[str]]] = {
    ("tokens", "EMSP"): frozenset({"CPO"}),
    ("locations", "CPO"): frozenset({"EMSP", "NAP", "NSP", "OTHER"}),
    ("tariffs", "CPO"): frozenset({"EMSP", "NAP", "NSP", "OTHER"}),
}
"""(module, role that pushes) → the roles that a push to all is for. Other modules concern one party alone."""


def rule(version: str, interface: str, module: str, method: str, rest: tuple[str, ...]) -> Rule | None:
    """The row for a request; None where the standard has no such call. `rest` are the segments of the path."""
    for row in RULES:
        if (
            (row.interface, row.module) == (interface, module)
            and method in row.methods.split()
            and version in row.versions
            and _fits(row.path, rest)
        ):
            return row
    return None


def _fits(path: str, rest: tuple[str, ...]) -> bool:
    parts = path.split("/") if path else []
    return len(parts) == len(rest) and all(
        part.startswith("{") or part == segment for part, segment in zip(parts, rest, strict=True)
    )
