"""Hypothesis strategies for every object of OCPI as decoded JSON, in the spelling that `dump` gives back.

Built from the shapes of the models; unknown fields, unknown values of open enumerations and explicit nulls are
part of what is drawn. Cross-field rules of the standard are met, so that every body is valid.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Final

import msgspec
from hypothesis import strategies as st

from protocols.ocpi.shape import Shape, shapes
from protocols.ocpi.types import JSON, OcpiModel, write_date_time
from protocols.ocpi.v2_2_1 import enums as enums_2_2_1
from protocols.ocpi.v2_3_0 import enums as enums_2_3_0

PRINTABLE: Final = st.characters(exclude_categories=["Cs", "Cc"])
ASCII: Final = st.characters(min_codepoint=0x20, max_codepoint=0x7E)

MOMENTS: Final = st.datetimes(
    min_value=datetime(2000, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)
).map(write_date_time)
NUMBERS: Final = st.one_of(
    st.integers(min_value=-(10**9), max_value=10**9),
    st.decimals(min_value=-(10**9), max_value=10**9, places=4),
)
ANYTHING: Final[st.SearchStrategy[JSON]] = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.text(PRINTABLE, max_size=6),
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.text(PRINTABLE, max_size=3), inner, max_size=2)
    ),
    max_leaves=4,
)
UNKNOWN: Final = st.dictionaries(st.text(ASCII, max_size=4).map("x_{}".format), ANYTHING, max_size=2)

BY_FIELD: Final[dict[str, st.SearchStrategy[JSON]]] = {
    "latitude": st.sampled_from(["51.047599", "-3.72994", "90.00000", "-89.1234567"]),
    "longitude": st.sampled_from(["3.729944", "-122.4194155", "180.00000", "-0.00001"]),
    "start_time": st.sampled_from(["00:00", "09:30", "23:59"]),
    "end_time": st.sampled_from(["00:00", "09:30", "23:59"]),
    "start_date": st.sampled_from(["2024-02-29", "2026-12-31"]),
    "end_date": st.sampled_from(["2024-02-29", "2026-12-31"]),
    "period_begin:string(5)": st.just("08:00"),
    "period_end:string(5)": st.sampled_from(["20:00", "24:00"]),
    "url:URL": st.sampled_from(["https://example.org/ocpi/2.3.0", "http://127.0.0.1:8080/x?y=z"]),
}


def same(left: JSON, right: JSON) -> bool:
    """Equal as JSON values: numbers by value, true is not 1."""
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    if isinstance(left, dict) and isinstance(right, dict):
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(left, list) and isinstance(right, list):
        return len(left) == len(right) and all(map(same, left, right))
    return left == right


def written(body: JSON) -> bytes:
    """The bytes of a body, by another encoder than the one under test uses for objects."""
    return msgspec.json.Encoder(decimal_format="number").encode(body)


def read(raw: bytes) -> JSON:
    """The decoded JSON of bytes, by the standard library."""
    found: JSON = json.loads(raw, parse_float=Decimal)
    return found


@cache
def bodies(model: type[OcpiModel]) -> st.SearchStrategy[dict[str, JSON]]:
    """Valid bodies of an object."""
    required: dict[str, st.SearchStrategy[JSON]] = {}
    optional: dict[str, st.SearchStrategy[JSON]] = {}
    for name, shape in shapes(model).items():
        (required if shape.required else optional)[name] = _field(model, name, shape)
    known = st.fixed_dictionaries(required, optional=optional)
    rule = RULES.get(model.__name__, _no_rule)
    return st.builds(lambda unknown, body: rule(unknown | body), UNKNOWN, known)


def _field(model: type[OcpiModel], name: str, shape: Shape) -> st.SearchStrategy[JSON]:
    keys = [key for key in (name, f"{name}:{shape.name}") if key in BY_FIELD]
    one = BY_FIELD[keys[0]] if keys else _one(model, shape)
    if shape.card == "?":
        return one | st.none()
    if shape.card in "*+":
        return st.lists(one, min_size=1 if shape.card == "+" else 0, max_size=2)
    return one


def _one(model: type[OcpiModel], shape: Shape) -> st.SearchStrategy[JSON]:
    if shape.model:
        return st.deferred(lambda: bodies(shape.model)) if shape.model else st.none()
    if shape.closed_enum:
        return st.sampled_from([member.value for member in shape.closed_enum])
    if shape.is_open_enum:
        known = [
            member.value for member in getattr(_enums(model), shape.name, getattr(enums_2_3_0, shape.name))
        ]
        return st.sampled_from(known) | st.just("SOMETHING_NEW") | st.text(PRINTABLE, min_size=1, max_size=8)
    name, _, size = shape.name.rstrip(")").partition("(")
    least, _, most = size.rpartition("..")
    simple: dict[str, Callable[[], st.SearchStrategy[JSON]]] = {
        "CiString": lambda: st.text(ASCII, min_size=int(least or 0), max_size=min(int(most or 12), 40)),
        "string": lambda: st.text(PRINTABLE, max_size=min(int(most or 12), 40)),
        "URL": lambda: st.text(PRINTABLE, max_size=12).map("https://example.org/{}".format),
        "int": lambda: st.integers(min_value=0, max_value=10 ** int(most or 9) - 1),
        "number": lambda: NUMBERS,
        "boolean": st.booleans,
        "DateTime": lambda: MOMENTS,
    }
    return simple[name]()


def _enums(model: type[OcpiModel]) -> object:
    return enums_2_2_1 if ".v2_2_1." in model.__module__ else enums_2_3_0


Body = dict[str, JSON]


def _no_rule(body: Body) -> Body:
    return body


def _publish(body: Body) -> Body:
    if all(body.get(name) is None for name in ("uid", "visual_number", "group_id")):
        body["group_id"] = "FLEET"
    if body.get("uid") is not None and body.get("type") is None:
        body["type"] = "RFID"
    if body.get("visual_number") is not None and body.get("issuer") is None:
        body["issuer"] = "TNM"
    return body


def _hours(body: Body) -> Body:
    if body["twentyfourseven"]:
        body.pop("regular_hours", None)
    elif not body.get("regular_hours"):
        body["regular_hours"] = [{"weekday": 1, "period_begin": "00:00", "period_end": "24:00"}]
    return body


def _start(body: Body) -> Body:
    if body.get("connector_id") is not None and body.get("evse_uid") is None:
        body["evse_uid"] = "E1"
    return body


def _credit(body: Body) -> Body:
    if body.get("credit") and body.get("credit_reference_id") is None:
        body["credit_reference_id"] = "CDR1"
    return body


RULES: Final[dict[str, Callable[[Body], Body]]] = {
    "PublishTokenType": _publish,
    "Hours": _hours,
    "StartSession": _start,
    "CDR": _credit,
}
