"""The commands module as its receiver: an eMSP asks our charge points to start, to stop and to unlock.

The CommandResponse comes at once, when the request is durable; the CommandResult follows at `response_url`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from api.ocpi.addressing import only_party, party_text
from api.ocpi.call import Answer, Call, invalid, not_found
from application.partner_commands import CommandAnswer, PartnerCommands, PartnerRequest
from domain.values import PartyId
from protocols.ocpi import parse, v2_3_0
from protocols.ocpi.access import rule
from protocols.ocpi.envelope import StatusCode
from protocols.ocpi.types import OcpiModel
from protocols.ocpi.v2_3_0 import commands as bodies
from protocols.ocpi.v2_3_0.enums import CommandResponseType

B = TypeVar("B", bodies.StartSession, bodies.StopSession, bodies.UnlockConnector)
Asking = Callable[[Call], Awaitable[CommandAnswer]]

LANGUAGE: Final = "en"


def _asking(
    model: type[B], ask: Callable[[PartnerCommands, PartnerRequest, B], Awaitable[CommandAnswer]]
) -> Asking:
    async def asked(call: Call) -> CommandAnswer:
        body = parse(model, call.body)
        return await ask(call.ports.commands, _request(call, body.response_url), body)

    return asked


def _unsupported(model: type[OcpiModel]) -> Asking:
    async def asked(call: Call) -> CommandAnswer:
        parse(model, call.body)
        return CommandAnswer(CommandResponseType.NOT_SUPPORTED)

    return asked


COMMANDS: Final[dict[str, Asking]] = {
    "START_SESSION": _asking(bodies.StartSession, PartnerCommands.start),
    "STOP_SESSION": _asking(bodies.StopSession, PartnerCommands.stop),
    "UNLOCK_CONNECTOR": _asking(bodies.UnlockConnector, PartnerCommands.unlock),
    "RESERVE_NOW": _unsupported(bodies.ReserveNow),
    "CANCEL_RESERVATION": _unsupported(bodies.CancelReservation),
}
"""What the last segment of the path names."""


async def post(call: Call) -> Answer:
    """2003 for an unknown Location, 2001 for what cannot be asked so; a REJECTED stands in the data of both."""
    asking = COMMANDS.get(call.segments[-1])
    if asking is None:
        return not_found("there is no such command")
    if call.routing.to is not None and party_text(call.routing.to) == str(call.ports.hub):
        return invalid("OCPI-to: a command is for one party, and is not pushed to all")
    answer = await asking(call)
    text = (v2_3_0.DisplayText(language=LANGUAGE, text=answer.message[:512]),) if answer.message else ()
    response = v2_3_0.CommandResponse(result=answer.result, timeout=answer.timeout, message=text)
    code = StatusCode.SUCCESS
    if answer.unknown_location:
        code = StatusCode.UNKNOWN_LOCATION
    elif answer.invalid:
        code = StatusCode.INVALID_PARAMETERS
    return Answer(response, code, answer.message if code is not StatusCode.SUCCESS else None)


def _request(call: Call, response_url: str) -> PartnerRequest:
    row = rule(call.version, "receiver", "commands", "POST", call.segments[2:])
    allowed = row.allowed if row is not None else frozenset()
    sender = call.routing.sender
    return PartnerRequest(
        partner_id=call.access.partner_id,
        holder=call.access.holder,
        parties=frozenset(party for role, party in call.access.roles if role in allowed)
        & call.access.parties,
        sender=PartyId.of(party_text(sender)) if sender else None,
        to=only_party(call),
        command=call.segments[-1],
        response_url=response_url,
        endpoints=call.access.endpoints,
        meta=call.meta(),
    )
