"""What became of a command, in the words of OCPI's CommandResult (chapter Commands, 13.2.4)."""

from __future__ import annotations

from typing import Final

from protocols.ocpi.v2_3_0.commands import CommandResult
from protocols.ocpi.v2_3_0.common import DisplayText
from protocols.ocpi.v2_3_0.enums import CommandResultType

NOT_SUPPORTED: Final = frozenset({"NotSupported", "NotImplemented"})
"""How a charge point says that it cannot do this: an answer to an unlock, or the code of a CALLERROR."""
CALLERROR: Final = "CALLERROR "
"""What the reason begins with where it was one, before its code; behind a colon, the charge point's own words."""
CONNECTION_ENDED: Final = frozenset({"disconnected", "replaced"})
"""Reasons for which nobody knows whether the charge point was reached."""
OBSTACLES: Final = {
    "occupied": CommandResultType.EVSE_OCCUPIED,
    "inoperative": CommandResultType.EVSE_INOPERATIVE,
    "refused": CommandResultType.REJECTED,
}
TEXT_MOST: Final = 512


def command_result(status: str, reason: str, *, unreached: bool, obstacle: str) -> CommandResult:
    """The arguments are those of a remote command's conclusion: `status` accepted, rejected, failed, timed_out or
    expired."""
    result = _type(status, reason, obstacle)
    if result is CommandResultType.ACCEPTED:
        return CommandResult(result=result)
    text = "the charge point is not connected" if unreached else reason
    if obstacle == "refused":
        text = "it cannot be done there now"  # why not names things of ours
    text = "".join(char if char.isprintable() else " " for char in text).strip()[:TEXT_MOST]
    message = (DisplayText(language="en", text=text),) if text else ()
    return CommandResult(result=result, message=message)


def _type(status: str, reason: str, obstacle: str) -> CommandResultType:
    if status == "accepted":
        return CommandResultType.ACCEPTED
    if status in ("timed_out", "expired") or reason in CONNECTION_ENDED:
        return CommandResultType.TIMEOUT
    if reason.removeprefix(CALLERROR).partition(":")[0] in NOT_SUPPORTED:
        return CommandResultType.NOT_SUPPORTED
    return OBSTACLES.get(
        obstacle, CommandResultType.REJECTED if status == "rejected" else CommandResultType.FAILED
    )
