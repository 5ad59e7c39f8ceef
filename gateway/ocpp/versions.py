"""The versions of OCPP that charge points may speak, by subprotocol; the first that is offered is taken (J-04)."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from commands.remote_command_rules import ParameterError
from domain.intents import Intent
from gateway.ocpp.v16 import V16
from gateway.ocpp.version import Version

ASSUMED: Final = "ocpp1.6"
"""What a charge point speaks that offers nothing, where its tenant allows that (J-05)."""

VERSIONS: Final[Mapping[str, Version]] = {ASSUMED: V16}


def common(offered: Collection[str]) -> str | None:
    """The subprotocol that is spoken where these are offered; None where there is none in common."""
    return next((name for name in VERSIONS if name in offered), None)


def fits(intent: Intent) -> ParameterError | None:
    """What is wrong with an intent for the version that charge points speak, by the path of the intent's field."""
    return V16.fits(intent)
