"""The payments module of OCPI 2.3.0: payment terminals and what they captured."""

from protocols.ocpi.types import (
    Ci1To255,
    Ci2,
    Ci3,
    Ci10,
    Ci20,
    Ci36,
    Ci45,
    DateTime,
    Many,
    OcpiModel,
    Some,
    Url,
)
from protocols.ocpi.v2_3_0.common import GeoLocation, Price
from protocols.ocpi.v2_3_0.enums import CaptureStatusCode, InvoiceCreator


class Terminal(OcpiModel):
    """A payment terminal; a PATCH needs no last_updated."""

    terminal_id: Ci36
    customer_reference: Ci36 | None = None
    party_id: Ci3 | None = None
    country_code: Ci2 | None = None
    address: Ci45 | None = None
    city: Ci45 | None = None
    postal_code: Ci10 | None = None
    state: Ci20 | None = None
    country: Ci3 | None = None
    coordinates: GeoLocation | None = None
    invoice_base_url: Url | None = None
    invoice_creator: InvoiceCreator | None = None
    reference: Ci36 | None = None
    location_ids: Many[Ci36] = ()
    evse_uids: Many[Ci36] = ()
    last_updated: DateTime


class FinancialAdviceConfirmation(OcpiModel):
    """What a terminal captured for a charge."""

    id: Ci36
    authorization_reference: Ci36
    total_costs: Price
    currency: Ci3
    eft_data: Some[Ci1To255]
    capture_status_code: CaptureStatusCode
    capture_status_message: Ci1To255 | None = None
    last_updated: DateTime
