"""What the cdrs module of OCPI 2.2.1 has otherwise than 2.3.0."""

from protocols.ocpi.types import CdrDateTime, Ci36, Many, Number, OcpiModel, Some
from protocols.ocpi.v2_2_1.common import Price
from protocols.ocpi.v2_2_1.enums import CdrDimensionType
from protocols.ocpi.v2_2_1.tariffs import Tariff
from protocols.ocpi.v2_3_0.cdrs import CDRCore


class CdrDimension(OcpiModel):
    """A volume: kWh, A, kW, hours or percent by its type."""

    type: CdrDimensionType
    volume: Number


class ChargingPeriod(OcpiModel):
    """A part of a charge from its start to the start of the next one."""

    start_date_time: CdrDateTime
    dimensions: Some[CdrDimension]
    tariff_id: Ci36 | None = None


class CDR(CDRCore):
    """A charge detail record: kWh and hours. It never changes: a Credit CDR and a new one correct it."""

    tariffs: Many[Tariff] = ()
    charging_periods: Some[ChargingPeriod]
    total_cost: Price
    total_fixed_cost: Price | None = None
    total_energy_cost: Price | None = None
    total_time_cost: Price | None = None
    total_parking_cost: Price | None = None
    total_reservation_cost: Price | None = None
