"""The commands module of OCPI 2.3.0: bodies of the five commands, the answer at once and the later result.

The text is the same in 2.2.1.
"""

from typing import Self

from pydantic import model_validator
from pydantic_core import PydanticCustomError

from protocols.ocpi.types import Ci36, DateTime, Int, Many, OcpiModel, Url
from protocols.ocpi.v2_3_0.common import DisplayText
from protocols.ocpi.v2_3_0.enums import CommandResponseType, CommandResultType
from protocols.ocpi.v2_3_0.tokens import Token


class CancelReservation(OcpiModel):
    """Body of CANCEL_RESERVATION."""

    response_url: Url
    reservation_id: Ci36


class ReserveNow(OcpiModel):
    """Body of RESERVE_NOW."""

    response_url: Url
    token: Token
    expiry_date: DateTime
    reservation_id: Ci36
    location_id: Ci36
    evse_uid: Ci36 | None = None
    authorization_reference: Ci36 | None = None


class StartSession(OcpiModel):
    """Body of START_SESSION."""

    response_url: Url
    token: Token
    location_id: Ci36
    evse_uid: Ci36 | None = None
    connector_id: Ci36 | None = None
    authorization_reference: Ci36 | None = None

    @model_validator(mode="after")
    def _connector_of_an_evse(self) -> Self:
        if self.connector_id is not None and self.evse_uid is None:
            raise PydanticCustomError("ocpi", "needs an evse_uid beside its connector_id")
        return self


class StopSession(OcpiModel):
    """Body of STOP_SESSION."""

    response_url: Url
    session_id: Ci36


class UnlockConnector(OcpiModel):
    """Body of UNLOCK_CONNECTOR."""

    response_url: Url
    location_id: Ci36
    evse_uid: Ci36
    connector_id: Ci36


class CommandResponse(OcpiModel):
    """The answer to a command at once; `timeout` in seconds until the result is due."""

    result: CommandResponseType
    timeout: Int
    message: Many[DisplayText] = ()


class CommandResult(OcpiModel):
    """The result of a command, sent to its response_url without an envelope."""

    result: CommandResultType
    message: Many[DisplayText] = ()
