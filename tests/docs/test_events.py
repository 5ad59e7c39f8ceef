"""`docs/events.md` says what the public topics hold: its tables and examples are made from the code.

`python -m tests.docs.test_events` writes the page anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, get_args, get_origin, get_type_hints

import msgspec

from domain import charge_point, token
from domain.aggregate import Event
from projections import public_payloads
from projections.public import CONTRACT, Kind, cloud_event
from projections.public_payloads import Payload
from streams.log.topology import PUBLIC
from tests.projections.facts import (
    MSP,
    SESSION,
    connected,
    corrected,
    disconnected,
    ended,
    meta,
    metered,
    of_charge_point,
    priced,
    put_token,
    started,
    status,
    used,
    withheld,
)

PAGE = Path(__file__).parents[2] / "docs" / "events.md"

HEAD = """\
# Public events

The topics below are the contract for billing services and analysts. Every record is one
[CloudEvent](https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md) in binary
mode: attributes are Kafka headers, the value is the payload as JSON, the key is the aggregate. Records of one key are
in order; there is no order across keys or topics, nor among `meter-values`: readings have times of their own.

- **At least once.** A record may come again with the same `ce_id`: remember the ids, or for a session, a charge point
  or a token the highest `ce_aggregateversion` that you have seen of a `ce_subject`.
- **Stable.** A type never loses or changes a field; it may gain some. Whatever else changes is a new type with a new
  version beside the old one.
- **Kept for ever**, so that a new reader begins at the beginning.
- **Also live**, one tenant's, over HTTP: [live events](live.md).
- **No personal data.** A token is known by a keyed hash of its type and uid, equal for equal tokens.

| header | what |
|---|---|
| `ce_specversion` | `1.0` |
| `ce_id` | unique for the event, the same when it comes again |
| `ce_type` | the type, with its version |
| `ce_source` | `/chargesphere/` and the kind of aggregate |
| `ce_subject` | the aggregate: a session id, `tenant\\|charge point`, `owner\\|token key` |
| `ce_time` | when it happened (UTC), by our clock: a charge point's time is corrected by what is known of its clock |
| `ce_tenantid` | the tenant; left out where a partner's fact belongs to none |
| `ce_aggregateversion` | counts the aggregate's facts from 1, not all of which are public; readings may have none |
| `ce_correlationid` | one charge's story, from its first frame to its CDR; `GET /api/v1/stories/{id}` |
| `ce_causationid` | the command that caused it |
| `content-type` | `application/json` |

Readings in base units: `{"timestamp", "measurand", "value", "unit", "phase", "context", "location"}`; `unit` is `Wh`,
`varh`, `W`, `VA`, `var`, `A`, `V`, `Percent`, `Hz`, `Celsius`, `Fahrenheit`, `K`, or as the charge point sent it.
"""


def examples() -> dict[str, tuple[Event, Payload]]:
    """One event of every type with its payload."""
    found: dict[str, tuple[Event, Payload]] = {}
    values = [{"timestamp": "2026-03-01T12:00:30Z", "sampledValue": [{"value": "1.1", "unit": "kWh"}]}]
    events: list[Event] = [
        started(),
        used(2, 30, 100, total_cost={"before_taxes": 0.03, "taxes": [{"name": "VAT", "amount": 0.01}]}),
        ended(3, 3600, 4200),
        corrected(5, 3900, 4300),
        priced(4, 3600),
        withheld(4, 3600),
        put_token(),
        token.TokenRemoved(
            originator_id="token|tenant:demo|9f2c", originator_version=2, timestamp=started().timestamp
        ),
        token.AuthorizationGiven(
            originator_id=f"token|{MSP}|9f2c",
            originator_version=2,
            timestamp=started().timestamp,
            allowed="ALLOWED",
            authorization_reference="REF-1",
            charge_point_id="CP-1",
            location_id="LOC1",
        ),
        connected(2),
        disconnected(3, 2, 60),
        of_charge_point(
            charge_point.ChargePointBooted,
            4,
            vendor="Vendor",
            model="Uno",
            firmware_version="1.2",
            status="Accepted",
            interval=300,
        ),
        status(5, "Charging", session_id=SESSION),
        metered(6, values, 30),
    ]
    for event in events:
        kind = CONTRACT[type(event)]
        payload = kind.make(event, meta())
        assert payload is not None
        found[kind.ce_type] = (event, payload)
    return found


def page() -> str:
    parts = [HEAD]
    kinds = {kind.ce_type: kind for kind in CONTRACT.values()}
    shown = examples()
    for topic, name in PUBLIC.items():
        parts.append(f"\n## `{name}`\n")
        parts.extend(_section(kind, *shown[kind.ce_type]) for kind in kinds.values() if kind.topic == topic)
    return "".join(parts)


def _section(kind: Kind, event: Event, payload: Payload) -> str:
    example = json.dumps(msgspec.to_builtins(payload), indent=2, ensure_ascii=False)
    told = cloud_event(event, meta())
    assert told is not None
    key = told.key.replace("|", "\\|")
    return (
        f"\n### `{kind.ce_type}`\n\n{kind.payload.__doc__}\n\n| field | type | what |\n|---|---|---|\n"
        + "".join(_row(name, hint) for name, hint in _hints(kind.payload).items())
        + f"\nKey `{key}`:\n\n```json\n{example}\n```\n"
    )


def _hints(payload: type[Payload]) -> dict[str, object]:
    return get_type_hints(payload, vars(public_payloads), include_extras=True)


def _row(name: str, hint: object) -> str:
    text = ""
    or_null = type(None) in get_args(hint)
    if or_null and get_origin(hint) is not Annotated:
        hint = next(one for one in get_args(hint) if one is not type(None))
    if get_origin(hint) is Annotated:
        hint, *more = get_args(hint)
        text = next(one.description or "" for one in more if isinstance(one, msgspec.Meta))
        or_null = or_null or type(None) in get_args(hint)
    if type(None) in get_args(hint):
        hint = next(one for one in get_args(hint) if one is not type(None))
    base = get_origin(hint) or hint
    kind = {str: "string", int: "integer", float: "number", bool: "boolean", dict: "object", list: "array"}
    assert isinstance(base, type)
    return f"| `{name}` | {kind[base]}{' or null' if or_null else ''} | {text} |\n"


def test_the_page_is_what_the_code_does() -> None:
    assert PAGE.read_text() == page(), "run: python -m tests.docs.test_events"


def test_every_type_of_the_contract_has_an_example() -> None:
    assert set(examples()) == {kind.ce_type for kind in CONTRACT.values()}


def test_every_example_fits_its_fields() -> None:
    for kind in CONTRACT.values():
        _, payload = examples()[kind.ce_type]
        encoded = msgspec.json.encode(payload)
        assert msgspec.json.decode(encoded, type=kind.payload) == payload


if __name__ == "__main__":
    PAGE.write_text(page())
