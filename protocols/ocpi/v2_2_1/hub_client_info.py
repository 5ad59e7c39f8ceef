"""What the hub client info module of OCPI 2.2.1 has otherwise than 2.3.0."""

from protocols.ocpi.types import Ci2, Ci3, DateTime, OcpiModel
from protocols.ocpi.v2_2_1.enums import Role
from protocols.ocpi.v2_3_0.enums import ConnectionStatus


class ClientInfo(OcpiModel):
    """A party behind the hub and whether it can be reached."""

    party_id: Ci3
    country_code: Ci2
    role: Role
    status: ConnectionStatus
    last_updated: DateTime
