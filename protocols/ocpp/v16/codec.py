"""Payloads of OCPP 1.6: bytes to messages and back, over the tables of this version.

In: an action and its payload. Out: `Decoded` (message, flags, raw bytes) or `WireError`; and bytes for a message of
ours. Refusals are values:

| what is wrong | code |
| --- | --- |
| unknown action | NotImplemented |
| known action, but not from this side | NotSupported |
| not JSON, payload not an object, unknown field | FormationViolation |
| required field missing | ProtocolError |
| list shorter than it must be | OccurenceConstraintViolation |
| wrong JSON type, null included | TypeConstraintViolation |
| value outside its length, enumeration, range or format | PropertyConstraintViolation |

Of duplicate keys the last wins. `null` is a legal payload of an action without fields (J-11). Numbers are exact.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from protocols.ocpp.codec import Codec, UnsendableError
from protocols.ocpp.message import Part
from protocols.ocpp.scalars import Leniency
from protocols.ocpp.v16 import CONFIRMATIONS, DIRECTIONS, REQUESTS
from protocols.ocpp.v16.enums import ChargePointErrorCode, ReadingContext, Reason, UnitOfMeasure
from protocols.ocpp.v16.messages.core import (
    MeterValuesRequest,
    StartTransactionRequest,
    StopTransactionRequest,
)
from protocols.ocpp.v16.messages.parts import ChargingSchedule, ChargingSchedulePeriod, SampledValue

__all__ = [
    "ACTION_OF",
    "ALWAYS_LENIENT",
    "LENIENCY",
    "UnsendableError",
    "decode_confirmation",
    "decode_request",
    "encode",
]

LENIENCY: Final = Leniency(
    aliases={UnitOfMeasure: {"hz": UnitOfMeasure.HERTZ, "%": UnitOfMeasure.PERCENT}},
    fallbacks={
        ChargePointErrorCode: ChargePointErrorCode.OTHER_ERROR,
        ReadingContext: ReadingContext.OTHER,
        Reason: Reason.OTHER,
    },
    indivisible=frozenset({SampledValue, ChargingSchedule, ChargingSchedulePeriod}),
    # Never 0 for a meter: it would be billed.
    stand_ins={
        StartTransactionRequest: {"connector_id": 0, "id_tag": ""},
        StopTransactionRequest: {"transaction_id": -1},
        MeterValuesRequest: {"connector_id": 0, "meter_value": ()},
    },
)

ALWAYS_LENIENT: Final = frozenset({"StartTransaction", "StopTransaction", "MeterValues"})
"""What is read leniently whatever the tenant wants: a refusal would lose what is to be billed (J-15, J-26)."""

ACTION_OF: Final[Mapping[type[Part], str]] = {
    part: name for table in (REQUESTS, CONFIRMATIONS) for name, part in table.items()
}
"""The action of a request or confirmation type."""

_CODEC: Final = Codec(REQUESTS, CONFIRMATIONS, DIRECTIONS, LENIENCY)

decode_request = _CODEC.decode_request
decode_confirmation = _CODEC.decode_confirmation
encode = _CODEC.encode
