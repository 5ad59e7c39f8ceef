"""Our types accept and refuse what the schemas do, over generated payloads, 1,000 for each request and confirmation.

The judge is jsonschema (draft 4, exact numbers, dates checked) on the schemas of the `ocpp` package with the errata
listed in `bench.ocpp_payloads.ERRATA`. `python -m bench.wire_ocpp --agree 100000` is the same with more payloads.
"""

from __future__ import annotations

from itertools import islice

import pytest

from bench.ocpp_payloads import ERRATA, judge, payloads
from protocols.ocpp.actions import Direction
from protocols.ocpp.message import Confirmation, Decoded, Mode, Request, WireError
from protocols.ocpp.v16 import DIRECTIONS, REQUESTS
from protocols.ocpp.v16.codec import decode_confirmation, decode_request

SEED = 16
ACTIONS = sorted(REQUESTS)


def decode(
    name: str, payload: bytes, mode: Mode = Mode.STRICT
) -> Decoded[Request] | Decoded[Confirmation] | WireError:
    action = name.removesuffix("Response")
    if name != action:
        return decode_confirmation(action, payload, mode=mode)
    sender = Direction.FROM_CHARGE_POINT
    if not DIRECTIONS[action].allows(sender):
        sender = Direction.FROM_CENTRAL_SYSTEM
    return decode_request(action, payload, mode=mode, sender=sender)


@pytest.mark.long(8)
@pytest.mark.parametrize("name", [f"{action}{suffix}" for action in ACTIONS for suffix in ("", "Response")])
def test_strict_accepts_and_refuses_what_the_schema_does(name: str) -> None:
    fits = judge(name)
    accepted = 0
    for payload in islice(payloads(name, SEED), 1000):
        outcome = decode(name, payload)
        wanted = fits(payload)
        assert isinstance(outcome, Decoded) is wanted, (payload, outcome)
        accepted += wanted
        if isinstance(outcome, WireError):
            assert outcome.path.startswith("$")
    assert 100 < accepted < 950


@pytest.mark.parametrize("action", ACTIONS)
def test_lenient_reads_what_strict_reads_as_the_same_message_without_flags(action: str) -> None:
    for payload in islice(payloads(action, SEED + 1), 100):
        strict, lenient = decode(action, payload), decode(action, payload, Mode.LENIENT)
        if isinstance(strict, Decoded):
            assert lenient == strict
        elif isinstance(lenient, Decoded):
            assert lenient.flags, payload


@pytest.mark.parametrize(
    ("name", "payload", "fits"),
    [
        ("Heartbeat", b"null", True),
        ("HeartbeatResponse", b"null", False),
        ("RemoteStopTransaction", b'{"transactionId":9223372036854775807}', True),
        ("RemoteStopTransaction", b'{"transactionId":9223372036854775808}', False),
        ("HeartbeatResponse", b'{"currentTime":"2016-12-31T23:59:60Z"}', False),
        ("HeartbeatResponse", b'{"currentTime":"2016-12-31T23:59:59+0100"}', True),
        ("HeartbeatResponse", b'{"currentTime":"0000-12-31T23:59:59Z"}', False),
        (
            "StopTransaction",
            b'{"transactionId":1,"meterStop":1,"timestamp":"2024-05-01T12:00:00Z","transactionData":['
            b'{"timestamp":"2024-05-01T12:00:00Z","sampledValue":[{"value":"50","unit":"Hertz"}]}]}',
            True,
        ),
        (
            "GetCompositeScheduleResponse",
            b'{"status":"Accepted","chargingSchedule":{"chargingRateUnit":"A","chargingSchedulePeriod":[],'
            b'"minChargingRate":1e19}}',
            False,
        ),
    ],
)
def test_each_erratum_is_as_listed(name: str, payload: bytes, fits: bool) -> None:
    assert set(ERRATA) == {"null", "integers", "numbers", "Hertz", "dates"}
    assert judge(name)(payload) is fits
    assert isinstance(decode(name, payload), Decoded) is fits
