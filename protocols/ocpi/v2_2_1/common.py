"""What the common objects of OCPI 2.2.1 have otherwise than 2.3.0: the Price."""

from protocols.ocpi.types import Number, OcpiModel


class Price(OcpiModel):
    """An amount without VAT, and with it where that is known."""

    excl_vat: Number
    incl_vat: Number | None = None
