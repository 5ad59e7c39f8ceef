"""Nothing secret is printed of any event that there is."""

from __future__ import annotations

import json
import re
from pathlib import Path

import msgspec
import pytest

from chargesphere import registry
from chargesphere.printed import HIDDEN, printable
from domain.aggregate import event_name
from projections.store import JSON

GOLDEN = Path(__file__).parents[1] / "golden"
EVENTS = sorted(path for kind in registry.AGGREGATES for path in (GOLDEN / kind.kind).glob("*.json"))
SECRET = re.compile("password|hash|secret|digest|token_[abc]$|_c$")


def leaves(value: object, name: str = "") -> list[tuple[str, object]]:
    if isinstance(value, dict):
        return [leaf for key, item in value.items() for leaf in leaves(item, f"{name}.{key}")]
    if isinstance(value, list):
        return [leaf for item in value for leaf in leaves(item, name)]
    return [(name, value)]


@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.stem)
def test_no_event_is_printed_with_a_secret_or_an_address(path: Path) -> None:
    event = json.loads(path.read_bytes())
    text = json.dumps(printable(event))
    for name, value in leaves(event):
        if any(SECRET.search(part) for part in name.split(".")):
            assert f'"{value}"' not in text, name
    assert not re.search(r"scrypt|192\.0\.2\.|gw-1|00ff00ff", text)


def test_every_field_of_an_event_that_sounds_secret_is_hidden() -> None:
    """A new one has a golden file; this names it where the file leaves it empty."""
    for classes in registry.AGGREGATES.values():
        for event in classes:
            for field in msgspec.structs.fields(event):
                if SECRET.search(field.encode_name):
                    shown = printable({field.encode_name: {"digest": "x", "sealed": "y"}})
                    assert shown == {field.encode_name: HIDDEN}, event_name(event)


def test_nodes_and_addresses_of_charge_points_are_printed_for_who_asks_and_streets_for_all() -> None:
    connected: dict[str, JSON] = {
        "node": "gw-1",
        "slot": 3,
        "boot": "00ff",
        "address": "192.0.2.7",
        "resumes": 5,
    }
    assert printable(connected) == {"resumes": 5}
    assert printable(connected, addresses=True) == connected
    assert printable({"id": "yard", "address": "Dock 1"}) == {"id": "yard", "address": "Dock 1"}
    knock: dict[str, JSON] = {"id": "CP-1", "address": "2001:db8::7", "count": 3}
    assert printable(knock) == {"id": "CP-1", "count": 3}
    assert printable(knock, addresses=True) == knock


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ({"key": "AuthorizationKey", "value": "cafe"}, {"key": "AuthorizationKey", "value": HIDDEN}),
        ({"key": "HeartbeatInterval", "value": "60"}, {"key": "HeartbeatInterval", "value": "60"}),
        (["ftp://u:p@h/f?a=b@c"], [f"ftp://{HIDDEN}@h/f?a=b@c"]),
        ("mail me@x.test", "mail me@x.test"),
        ({"password_hash": ""}, {"password_hash": ""}),
        (None, None),
    ],
)
def test_what_holds_a_secret_by_its_neighbour_or_its_form(value: JSON, shown: JSON) -> None:
    assert printable(value) == shown
