"""What the locations module of OCPI 2.2.1 has otherwise than 2.3.0."""

from protocols.ocpi.types import Many, Some
from protocols.ocpi.v2_3_0.locations import ConnectorCore, EVSECore, LocationCore


class Connector(ConnectorCore):
    """A socket or cable of an EVSE; V, A and W."""


class EVSE(EVSECore):
    """A part of a Location that charges one vehicle at a time; its uid is never used again."""

    connectors: Some[Connector]


class Location(LocationCore):
    """A place with EVSEs."""

    evses: Many[EVSE] = ()
