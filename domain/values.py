"""Value types that several aggregates share. Their JSON stands in events and is kept for ever.

Personal data never stands here in the clear: a `Sealed` text is AES-GCM ciphertext under a token's own data key, and
a key is an HMAC of the token's type and uid.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any

import msgspec

Sealed = str
"""`s1.<key>.<base64url of nonce and ciphertext>`; empty where nothing could be sealed."""

JSONObject = dict[str, Any]


class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The base of value types: frozen, compared by content, defaults left out of the JSON."""


class PartyId(Value, frozen=True, kw_only=True):
    """An OCPI party: ISO 3166 alpha-2 country code and party id, both upper case."""

    country_code: str
    party_id: str

    def __str__(self) -> str:
        return f"{self.country_code}*{self.party_id}"

    @classmethod
    def of(cls, text: str) -> PartyId:
        """Of `CC*PID`, as `str` writes it."""
        country_code, _, party_id = text.partition("*")
        return cls(country_code=country_code, party_id=party_id)


class TagRef(Value, frozen=True, kw_only=True):
    """An id tag (a token's uid) without its text: HMAC key and sealed text."""

    key: str
    sealed: Sealed = ""


class Authorization(Value, frozen=True, kw_only=True):
    """What was known of an id tag when a message was received, and from where.

    `status` is OCPP's (Accepted, Blocked, Expired, Invalid, ConcurrentTx). `source` is `tag` (the tenant's own),
    `stored` (a roaming token by its whitelist), `real_time`, `recent` (given less than 15 minutes before),
    `remote` (a remote start named it), `unknown` or `unavailable` (nobody answered and nothing is stored).
    """

    status: str
    source: str
    as_of: datetime
    owner: PartyId | None = None  # the eMSP, for a roaming token
    holder: str = ""  # the platform that put the token
    token_id: str = ""  # the aggregate of the token
    token_version: int = 0
    token_type: str = ""
    cdr_token: Sealed = ""  # OCPI CdrToken JSON, sealed under the token's key
    parent: str = ""  # HMAC key of the parent id tag or group id
    parent_sealed: Sealed = ""
    expires_at: datetime | None = None
    authorization_reference: str = ""
    auth_method: str = ""  # OCPI AuthMethod: AUTH_REQUEST, WHITELIST or COMMAND


class Coordinates(Value, frozen=True, kw_only=True):
    """Decimal degrees as texts, as OCPI writes them."""

    latitude: str
    longitude: str


class Connector(Value, frozen=True, kw_only=True):
    """OCPI Connector of one of our EVSEs."""

    id: str
    standard: str
    format: str
    power_type: str
    max_voltage: int
    max_amperage: int
    tariff_ids: tuple[str, ...] = ()

    @property
    def max_power(self) -> int:
        """W, of all its phases."""
        return self.max_voltage * self.max_amperage * phases(self.power_type)


_PHASES = {"AC_3_PHASE": 3, "AC_2_PHASE": 2, "AC_2_PHASE_SPLIT": 2}


def phases(power_type: str) -> int:
    """Of an OCPI PowerType."""
    return _PHASES.get(power_type, 1)


class Evse(Value, frozen=True, kw_only=True):
    """OCPI EVSE of ours; the OCPP connector with number n is the n-th EVSE."""

    uid: str
    evse_id: str = ""
    connectors: tuple[Connector, ...] = ()


class Site(Value, frozen=True, kw_only=True):
    """The OCPI Location that a charge point stands at."""

    id: str
    name: str = ""
    address: str = ""
    city: str = ""
    postal_code: str = ""
    country: str = ""  # ISO 3166 alpha-3
    coordinates: Coordinates | None = None
    time_zone: str = "UTC"


UNASSIGNED = "unassigned"
"""The id of the site where a charge point stands that nobody has given a place: it is published to nobody."""
ABANDONED_AFTER_H = 72
"""For how many hours a transaction may not be heard of, unless its tenant says otherwise."""


class CallNumber(Value, frozen=True, kw_only=True):
    """A call of a charge point: the `number`-th that is answered on its connection of this `epoch`."""

    epoch: int
    number: int


class Carried(Value, frozen=True, kw_only=True):
    """Up to where the readings of a transaction that stand beside its events were carried into them.

    Those that were not stand behind `offset` of its partition of readings, at which that of `call` stands (none: the
    topic ended there), and were received before `until`.
    """

    offset: int
    call: CallNumber | None = None
    until: datetime


class Settings(Value, frozen=True, kw_only=True):
    """The tenant's settings that a decision needs, and their revision (version of the tenant aggregate)."""

    revision: int = 0
    party: PartyId
    currency: str = "EUR"
    time_zone: str = "UTC"
    abandoned_after_hours: int = ABANDONED_AFTER_H
    concurrent_transactions: bool = True


class JobItem(Value, frozen=True, kw_only=True):
    """An item of a job, as what is done for it names it: the `attempt`-th time, from 1, that it is issued.

    `listing` names the job's items, once for all lives of its id; `about` is what the item is about: a charge point.
    """

    job_id: str
    listing: str
    item: int
    attempt: int
    about: str


class RegisterSample(Value, frozen=True, kw_only=True):
    """One reading of the energy register within a transaction: Wh as the meter says, with power where given."""

    at: datetime
    energy_wh: Decimal
    power_w: Decimal | None = None
    current_a: Decimal | None = None
    soc_percent: Decimal | None = None


_MOST_DIGITS = 18
"""By what power of ten a number of 64 bits has its first digit."""


def plain_json(value: object) -> Any:
    """JSON-ready: Decimals become JSON numbers, which up to 15 significant digits read back as the same Decimal.

    Raises ValueError for a Decimal that would not (nothing that we compute for the wire has more digits), and for a
    whole number of more than 64 bits or a name with a NUL, which no read model can hold.
    """
    if isinstance(value, Decimal):
        if not value.is_finite() or value.adjusted() > _MOST_DIGITS:
            raise ValueError("a number has at most 64 bits")
        number = int(value) if value == value.to_integral_value() else float(value)
        if Decimal(repr(number)) != value:
            raise ValueError(f"{value} has too many digits for a JSON number")
        return plain_json(number)
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        raise ValueError("a number has at most 64 bits")
    if isinstance(value, dict):
        if any("\0" in key for key in value):
            raise ValueError("a name holds a NUL")
        return {key: plain_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain_json(item) for item in value]
    return value
