"""The tokens module of OCPI 2.3.0: what a driver charges with, and the answer to "may this token charge?"."""

from protocols.ocpi.types import Bool, Ci2, Ci3, Ci36, DateTime, Many, OcpiModel, Str2, Str64
from protocols.ocpi.v2_3_0.common import DisplayText
from protocols.ocpi.v2_3_0.enums import AllowedType, OpenTokenType, ProfileType, WhitelistType


class EnergyContract(OcpiModel):
    """The energy contract of a driver."""

    supplier_name: Str64
    contract_id: Str64 | None = None


class Token(OcpiModel):
    """Something to authorize a charge with; unique by owner, type and uid."""

    country_code: Ci2
    party_id: Ci3
    uid: Ci36
    type: OpenTokenType
    contract_id: Ci36
    visual_number: Str64 | None = None
    issuer: Str64
    group_id: Ci36 | None = None
    valid: Bool
    whitelist: WhitelistType
    language: Str2 | None = None
    default_profile_type: ProfileType | None = None
    energy_contract: EnergyContract | None = None
    last_updated: DateTime


class LocationReferences(OcpiModel):
    """A Location and EVSEs in it; `evse_uids` empty means all of them."""

    location_id: Ci36
    evse_uids: Many[Ci36] = ()


class AuthorizationInfo(OcpiModel):
    """The answer of an eMSP to a real-time authorization. Not ALLOWED is an answer, not an error."""

    allowed: AllowedType
    token: Token
    location: LocationReferences | None = None
    authorization_reference: Ci36 | None = None
    info: DisplayText | None = None
