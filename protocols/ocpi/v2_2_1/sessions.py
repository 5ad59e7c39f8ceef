"""What the sessions module of OCPI 2.2.1 has otherwise than 2.3.0."""

from protocols.ocpi.types import Many
from protocols.ocpi.v2_2_1.cdrs import ChargingPeriod
from protocols.ocpi.v2_2_1.common import Price
from protocols.ocpi.v2_3_0.sessions import SessionCore


class Session(SessionCore):
    """A charging session; energy in kWh. COMPLETED is final. `total_cost` never given does not mean free."""

    charging_periods: Many[ChargingPeriod] = ()
    total_cost: Price | None = None
