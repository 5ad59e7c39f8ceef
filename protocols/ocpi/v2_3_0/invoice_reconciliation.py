"""The invoice reconciliation module of OCPI 2.3.0 edition 2: which CDRs an invoice holds."""

from protocols.ocpi.types import CdrId, Ci2, Ci3, Ci36, Ci255, DateTime, OcpiModel, Some


class InvoiceReconciliationRecord(OcpiModel):
    """The CDRs of one invoice; their ids may have 39 characters, as those of credit CDRs do."""

    country_code: Ci2
    party_id: Ci3
    id: Ci36
    invoice_id: Ci255
    cdrs: Some[CdrId]
    last_updated: DateTime
