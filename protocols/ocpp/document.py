"""The tables of messages for the documentation: `python -m protocols.ocpp.document > docs/ocpp-messages.md`.

In: the types. Out: Markdown text. It states what the types state and nothing else, so it cannot be wrong alone.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from enum import StrEnum

import msgspec

from protocols.ocpp import v16
from protocols.ocpp.actions import Profile
from protocols.ocpp.model import FieldModel, Kind, model_of

_HEADER = """# OCPP messages

Generated from the types by `python -m protocols.ocpp.document > docs/ocpp-messages.md`; a test keeps it so.
Field names are those on the wire; in Python and in the parameters of commands they are in snake_case. Lengths are in
characters. Dates have a zone (any offset) and are sent in UTC with at most milliseconds. Integers have 64 bits with
sign.

Where the types differ from the published JSON schemas on purpose: `DIFFERENCES` in
`tests/protocols/ocpp/test_schemas.py` and `ERRATA` in `bench/ocpp_payloads.py`.

## Strict and lenient reading

What we send is always strict. What we receive is judged as the tenant's `validation` says, lenient unless it wants
strict; StartTransaction, StopTransaction and MeterValues are read leniently in both, as a refusal would lose what is
to be billed. The payload as received is kept in all cases, and each thing forgiven is a flag with its path, such as
`$.timestamp: no zone, read as UTC`.

| what is odd | strict: refused with | lenient |
| --- | --- | --- |
| not JSON, not an object | FormationViolation | refused |
| unknown field | FormationViolation | dropped |
| required field missing | ProtocolError | refused; a date: the time of receipt |
| null or empty for an optional field | TypeConstraintViolation | absent |
| number for a text, text for a number, fraction for an integer | TypeConstraintViolation | converted, rounded |
| one object for a list | TypeConstraintViolation | a list of one |
| text too long, not a URI | PropertyConstraintViolation | kept |
| date with a space for T, without zone, in another form of ISO 8601 | PropertyConstraintViolation | read, UTC |
| value of an enumeration in other letter case; `Hz` | PropertyConstraintViolation | read |
| unknown stop reason, error code, context | PropertyConstraintViolation | `Other`, `OtherError` |
| list too short | OccurenceConstraintViolation | accepted |
| anything else in an optional field | as above | field dropped |
| anything else in an item of a list | as above | item dropped |
| unknown measurand, unit, phase, format or location of a sample | PropertyConstraintViolation | that sample dropped |
| anything wrong inside a charging schedule | as above | the whole schedule dropped |
| transactionId of a stop, idTag and connectorId of a start, connectorId and meterValue of meter values | as above | \
-1, an empty text, 0 and an empty list: not known |
| anything else in a required field, a meter's start or stop too | as above | refused |

`null` in place of `{}` is no fault where an action has no fields. Of duplicate keys the last wins.
"""


def document() -> str:
    """The whole page."""
    parts: dict[str, type[msgspec.Struct]] = {}
    enums: dict[str, type[StrEnum]] = {}
    for table in (v16.REQUESTS, v16.CONFIRMATIONS):
        for message in table.values():
            for field in model_of(message).walk():
                if field.part is not None:
                    parts[field.part.__name__] = field.part
                if field.enum is not None:
                    enums[field.enum.__name__] = field.enum
    lines = [_HEADER, f"# OCPP {v16.VERSION}", "", "## Actions", "", *_overview(), "", "## Messages", ""]
    for action in sorted(v16.REQUESTS):
        lines += _action(action)
    lines += ["## Objects", ""]
    for name in sorted(parts):
        lines += [f"### {name}", "", _said(parts[name]), "", *_fields(parts[name]), ""]
    lines += ["## Enumerations", ""]
    for name in sorted(enums):
        values = ", ".join(f"`{member.value}`" for member in enums[name])
        lines += [f"### {name}", "", _said(enums[name]), "", values, ""]
    return "\n".join(lines).rstrip() + "\n"


def _overview() -> Iterator[str]:
    yield "| feature profile | from the charge point | from the central system |"
    yield "| --- | --- | --- |"
    for profile in Profile:
        sent: list[list[str]] = [[], []]
        for action in sorted(v16.REQUESTS):
            if v16.PROFILES[action] is profile:
                direction = v16.DIRECTIONS[action]
                for column, sender in enumerate((direction.FROM_CHARGE_POINT, direction.FROM_CENTRAL_SYSTEM)):
                    if direction.allows(sender):
                        sent[column].append(f"[{action}](#{action.lower()})")
        yield f"| {profile.value} | {', '.join(sent[0])} | {', '.join(sent[1])} |"


def _action(action: str) -> list[str]:
    request, confirmation = v16.REQUESTS[action], v16.CONFIRMATIONS[action]
    direction = v16.DIRECTIONS[action]
    sender = "both sides" if direction is direction.BOTH else f"the {direction.value}"
    return [
        f"### {action}",
        "",
        f"{_said(request)} Sent by {sender}; profile {v16.PROFILES[action].value}.",
        "",
        *_fields(request),
        "",
        f"Confirmation: {_said(confirmation)}",
        "",
        *_fields(confirmation),
        "",
    ]


def _fields(part: type[msgspec.Struct]) -> list[str]:
    fields = model_of(part).fields
    if not fields:
        return ["No fields."]
    rows = [f"| `{field.wire}` | {field.cardinality} | {_type(field)}{_least(field)} |" for field in fields]
    return ["| field | | type |", "| --- | --- | --- |", *rows]


def _type(field: FieldModel) -> str:
    named = field.enum or field.part
    if named is not None:
        return f"[{named.__name__}](#{named.__name__.lower()})"
    if field.kind is Kind.TEXT and field.max_length is not None:
        return f"text, at most {field.max_length}"
    return field.kind.value


def _least(field: FieldModel) -> str:
    return f", at least {field.min_items} when present" if field.min_items and not field.required else ""


def _said(documented: type) -> str:
    return (documented.__doc__ or "").strip()


if __name__ == "__main__":
    sys.stdout.write(document())
