"""Decode, then encode: equal as JSON values. By one full example of every message, and by Hypothesis."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from itertools import islice

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.ocpp_payloads import payloads
from protocols.ocpp.message import Confirmation, Decoded, Request
from protocols.ocpp.model import FieldModel, Kind, model_of
from protocols.ocpp.v16 import CONFIRMATIONS, REQUESTS
from protocols.ocpp.v16.codec import ACTION_OF, encode
from tests.laws import tried
from tests.protocols.ocpp import examples
from tests.protocols.ocpp.test_agreement import decode

ACTIONS = sorted(REQUESTS)
NAMES = [f"{action}{suffix}" for action in ACTIONS for suffix in ("", "Response")]
TYPES: Mapping[str, type[Request] | type[Confirmation]] = {
    name: CONFIRMATIONS[name.removesuffix("Response")] if name.endswith("Response") else REQUESTS[name]
    for name in NAMES
}


def example(name: str) -> dict[str, object]:
    action = name.removesuffix("Response")
    return examples.REQUESTS[name] if name == action else examples.CONFIRMATIONS[action]


def message(name: str, payload: bytes) -> Request | Confirmation:
    outcome = decode(name, payload)
    assert isinstance(outcome, Decoded), outcome
    return outcome.message


def values(payload: bytes) -> object:
    """JSON values with exact numbers, and dates as instants of a whole millisecond."""
    return instants(json.loads(payload, parse_float=Decimal))


def instants(value: object) -> object:
    if isinstance(value, dict):
        return {key: instants(item) for key, item in value.items()}
    if isinstance(value, list):
        return [instants(item) for item in value]
    if isinstance(value, str) and len(value) >= 20 and value[4:5] == value[7:8] == "-" and value[10] in "Tt":
        try:
            moment = datetime.fromisoformat(value.upper())
        except ValueError:
            return value
        if moment.tzinfo is not None:
            return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)
    return value


def names_in(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(names_in(item) for item in value.values()))
    if isinstance(value, list):
        return set().union(*(names_in(item) for item in value))
    return set()


@pytest.mark.parametrize("name", NAMES)
def test_an_example_has_every_field_of_its_message(name: str) -> None:
    assert names_in(example(name)) == {field.wire for field in model_of(TYPES[name]).walk()}


@pytest.mark.parametrize("name", NAMES)
def test_an_example_comes_back_as_it_went_in(name: str) -> None:
    payload = json.dumps(example(name)).encode()
    found = message(name, payload)
    assert type(found) is TYPES[name]
    assert ACTION_OF[type(found)] == name.removesuffix("Response")
    assert json.loads(encode(found)) == example(name)


@pytest.mark.parametrize("name", NAMES)
def test_generated_payloads_come_back_equal_as_json_values(name: str) -> None:
    for payload in islice(payloads(name, seed=4), 150):
        outcome = decode(name, payload)
        if isinstance(outcome, Decoded) and payload != b"null":
            assert values(encode(outcome.message)) == values(payload)


MOMENTS = st.builds(
    lambda moment, offset: moment.replace(tzinfo=timezone(timedelta(minutes=offset))),
    st.datetimes(datetime(1970, 1, 1), datetime(2100, 1, 1)).map(
        lambda moment: moment.replace(microsecond=moment.microsecond // 1000 * 1000)
    ),
    st.integers(-1439, 1439),
)
TEXTS = st.characters(codec="utf-8")


def scalars(field: FieldModel) -> st.SearchStrategy[object]:
    match field.kind:
        case Kind.TEXT:
            return st.text(TEXTS, max_size=min(field.max_length or 60, 60))
        case Kind.URI:
            return st.sampled_from(["ftp://host/path", "https://user@host:1/a?b=%20#c", "x:"])
        case Kind.INTEGER:
            return st.integers(-(2**63), 2**63 - 1)
        case Kind.NUMBER:
            return st.integers(-(10**9), 10**9).map(lambda tenths: Decimal(tenths) / 10)
        case Kind.BOOLEAN:
            return st.booleans()
        case Kind.INSTANT:
            return MOMENTS
        case Kind.ENUM:
            assert field.enum is not None
            return st.sampled_from(list(field.enum))
        case _:
            assert field.part is not None
            return parts(field.part)


def fields(field: FieldModel) -> st.SearchStrategy[object]:
    found = scalars(field)
    if field.many:
        found = st.lists(found, min_size=field.min_items, max_size=3).map(tuple)
    return found if field.required else st.none() | found


def parts(part: type[msgspec.Struct]) -> st.SearchStrategy[msgspec.Struct]:
    return st.builds(part, **{field.name: fields(field) for field in model_of(part).fields})


MESSAGES = st.sampled_from(NAMES).flatmap(lambda name: st.tuples(st.just(name), parts(TYPES[name])))


@given(MESSAGES)
@settings(deadline=None, max_examples=tried(400))
def test_what_we_send_is_read_back_as_the_same_message(sent: tuple[str, msgspec.Struct]) -> None:
    name, part = sent
    assert isinstance(part, Request | Confirmation)
    payload = encode(part)
    assert message(name, payload) == part
    assert encode(message(name, payload)) == payload
