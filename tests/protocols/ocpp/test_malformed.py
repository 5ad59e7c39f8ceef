"""Malformed input of every kind: a clear value with its path, never an exception, and never slow."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.ocpp_bodies import SPIKES, sample
from domain.intents import INTENTS, Intent
from protocols.ocpp.actions import Direction
from protocols.ocpp.frames import Call, CallResult, parse
from protocols.ocpp.message import Decoded, ErrorCode, Mode, Part, WireError
from protocols.ocpp.parsing import read
from protocols.ocpp.v16 import CONFIRMATIONS, REQUESTS
from protocols.ocpp.v16.codec import LENIENCY, decode_confirmation, decode_request
from tests.laws import tried

TYPES: list[type[Part]] = [*REQUESTS.values(), *CONFIRMATIONS.values()]

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=30)
    | st.sampled_from(["2024-05-01T12:00:00Z", "Accepted", "idTag", "1"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                [
                    "idTag",
                    "timestamp",
                    "status",
                    "meterValue",
                    "sampledValue",
                    "value",
                    "limit",
                    "connectorId",
                ]
            )
            | st.text(max_size=5),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def judge_frame(action: str, frame: bytes) -> None:
    outcome = parse(frame)
    for mode in Mode:
        if isinstance(outcome, Call):
            sender = Direction.FROM_CHARGE_POINT
            check(decode_request(outcome.action, outcome.payload, mode=mode, sender=sender))
            check(decode_request(action, outcome.payload, mode=mode, sender=Direction.FROM_CENTRAL_SYSTEM))
        elif isinstance(outcome, CallResult):
            check(decode_confirmation(action, outcome.payload, mode=mode))
        check(decode_request(action, frame, mode=mode))
        check(decode_confirmation(action, frame, mode=mode))


def check(outcome: object) -> None:
    assert isinstance(outcome, Decoded | WireError)
    if isinstance(outcome, WireError):
        assert outcome.path.startswith("$")
        assert outcome.code in set(ErrorCode)
        assert 0 < len(outcome.description) <= 255


def test_random_and_broken_frames_give_values_and_no_exception() -> None:
    for action, frame in sample(seed=7, count=4000):
        judge_frame(action, frame)


@pytest.mark.parametrize("spike", SPIKES, ids=range(len(SPIKES)))
def test_every_spike_in_every_place_of_a_meter_values_payload(spike: bytes) -> None:
    payload = (
        b'{"connectorId":1,"transactionId":2,"meterValue":[{"timestamp":"2024-05-01T12:00:00Z",'
        b'"sampledValue":[{"value":"1","unit":"Wh"}]}]}'
    )
    for at in range(len(payload) + 1):
        judge_frame("MeterValues", payload[:at] + spike + payload[at:])


@given(st.sampled_from(TYPES), JSON)
@settings(deadline=None, max_examples=tried(300))
def test_any_json_values_are_read_or_refused(part: type[Part], value: object) -> None:
    for leniency in (None, LENIENCY):
        outcome = read(part, value, leniency=leniency)
        assert isinstance(outcome, WireError | tuple)


@given(st.sampled_from(INTENTS), JSON)
@settings(deadline=None, max_examples=tried(150))
def test_any_json_values_as_an_intent_are_read_or_refused(intent: type[Intent], value: object) -> None:
    assert isinstance(read(intent, value), WireError | tuple)


@pytest.mark.parametrize(
    ("payload", "path"),
    [
        ('{"idTag":' + "[" * 5000, "$"),
        ('{"idTag":' + "[" * 500 + "]" * 500 + "}", "$.idTag"),
        ('{"idTag":' + "9" * 5000 + "}", "$"),
        ('{"idTag":1e999999999}', "$.idTag"),
        ('{"idTag":"\\udfff"}', "$"),
        ('{"idTag":{"a":{"b":1}}}', "$.idTag"),
        ('{"idTag":"a","\\u0000":1}', "$.?"),
    ],
)
def test_an_error_has_the_path_of_what_is_wrong(payload: str, path: str) -> None:
    outcome = decode_request("Authorize", payload.encode())
    assert isinstance(outcome, WireError)
    assert outcome.path == path


@pytest.mark.parametrize(
    "payload",
    [
        '{"idTag":"a",' + ",".join(f'"extra{n}":{{}}' for n in range(50_000)) + "}",
        '{"idTag":' + "[" * 200 + '"' + "\\u00e4" * 100_000 + '"',
        '{"idTag":[' + ",".join(["1e400"] * 100_000) + "]}",
        json.dumps({"connectorId": 1, "meterValue": [{"timestamp": "x", "sampledValue": [{}] * 50}] * 1000}),
        json.dumps({"connectorId": 1, "meterValue": [{"timestamp": "x" * 500_000, "sampledValue": []}]}),
    ],
    ids=["unknown fields", "long text in deep lists", "huge numbers", "many bad items", "long date"],
)
@pytest.mark.parametrize("action", ["Authorize", "MeterValues"])
def test_a_large_hostile_payload_costs_less_than_5_ms_per_kb(payload: str, action: str) -> None:
    body = payload.encode()
    for mode in Mode:
        began = time.process_time()
        check(decode_request(action, body, mode=mode))
        assert time.process_time() - began < 0.005 * len(body) / 1024
