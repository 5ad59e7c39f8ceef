"""The credentials module of OCPI 2.3.0: the token, the versions URL and the parties of a platform."""

from protocols.ocpi.types import Ci2, Ci3, Ci5, OcpiModel, Some, Str64, Url
from protocols.ocpi.v2_3_0.common import BusinessDetails
from protocols.ocpi.v2_3_0.enums import Role


class CredentialsRole(OcpiModel):
    """A party and the role that it plays on this platform."""

    role: Role
    business_details: BusinessDetails
    party_id: Ci3
    country_code: Ci2


class Credentials(OcpiModel):
    """How the receiver of this object may access the sender of it; `token` is the bare token, not Base64."""

    token: Str64
    url: Url
    hub_party_id: Ci5 | None = None
    roles: Some[CredentialsRole]
