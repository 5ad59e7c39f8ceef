"""The sessions module of OCPI 2.3.0: a charging session while it goes on, and the driver's preferences."""

from protocols.ocpi.types import Bool, Ci2, Ci3, Ci36, DateTime, Many, Number, OcpiModel, Str3, Str255
from protocols.ocpi.v2_3_0.cdrs import CdrToken, ChargingPeriod
from protocols.ocpi.v2_3_0.common import Price
from protocols.ocpi.v2_3_0.enums import AuthMethod, ProfileType, SessionStatus


class SessionCore(OcpiModel):
    """What Session holds in 2.2.1 and 2.3.0 alike."""

    country_code: Ci2
    party_id: Ci3
    id: Ci36
    start_date_time: DateTime
    end_date_time: DateTime | None = None
    kwh: Number
    cdr_token: CdrToken
    auth_method: AuthMethod
    authorization_reference: Ci36 | None = None
    location_id: Ci36
    evse_uid: Ci36
    connector_id: Ci36
    meter_id: Str255 | None = None
    currency: Str3
    status: SessionStatus
    last_updated: DateTime


class Session(SessionCore):
    """A charging session; energy in kWh. COMPLETED is final. `total_cost` never given does not mean free."""

    charging_periods: Many[ChargingPeriod] = ()
    total_cost: Price | None = None


class ChargingPreferences(OcpiModel):
    """What the driver wants: by when, and how many kWh."""

    profile_type: ProfileType
    departure_time: DateTime | None = None
    energy_need: Number | None = None
    discharge_allowed: Bool | None = None
