"""The OCPP-J door: charge points' websockets in, commands to the log, calls to charge points out.

What enters: OCPP-J frames and downlinks. What leaves: confirmations that follow from the log, and records of both
directions. What it never does: decide what a message means, keep state that must survive, or wait for the audit.
"""

from gateway.ocpp.options import Options
from gateway.ocpp.ports import Frame, Frames
from gateway.ocpp.server import OcppGateway
from gateway.ocpp.services import LogHealth, Services

__all__ = [
    "Frame",
    "Frames",
    "LogHealth",
    "OcppGateway",
    "Options",
    "Services",
]
