"""What the credentials module of OCPI 2.2.1 has otherwise than 2.3.0."""

from protocols.ocpi.types import Ci2, Ci3, OcpiModel, Some, Str64, Url
from protocols.ocpi.v2_2_1.enums import Role
from protocols.ocpi.v2_3_0.common import BusinessDetails


class CredentialsRole(OcpiModel):
    """A party and the role that it plays on this platform."""

    role: Role
    business_details: BusinessDetails
    party_id: Ci3
    country_code: Ci2


class Credentials(OcpiModel):
    """As in 2.3.0 without hub_party_id; a hub is a role of its own here."""

    token: Str64
    url: Url
    roles: Some[CredentialsRole]
