"""The hub client info module of OCPI 2.3.0: the state of another party behind the hub."""

from protocols.ocpi.types import Ci2, Ci3, DateTime, OcpiModel
from protocols.ocpi.v2_3_0.enums import ConnectionStatus, Role


class ClientInfo(OcpiModel):
    """A party behind the hub and whether it can be reached."""

    party_id: Ci3
    country_code: Ci2
    role: Role
    status: ConnectionStatus
    last_updated: DateTime
