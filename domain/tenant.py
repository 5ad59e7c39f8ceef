"""A tenant: one customer of the central system, with its name and its configuration.

The whole configuration stands in each event of it, so that any moment's settings can be read from one fact; the
revision of the settings is the version of the aggregate. Beside it stands how many charge points the tenant has, by
the parts of its fleet: what its quota is held against.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any, ClassVar, Final
from zoneinfo import available_timezones

import msgspec

from domain.aggregate import Aggregate, Event
from domain.charge_point.wanted import wrong_defaults
from domain.fleet import Counts
from domain.remote_command import EXPIRY_LONGEST
from domain.values import ABANDONED_AFTER_H, JSONObject, PartyId, Settings, Site, Value

TENANT_ID: Final = re.compile(r"[a-z0-9-]{1,32}")
RESERVED: Final = frozenset(
    ("admin", "backend", "broker", "chargesphere", "hub", "mqtt", "platform", "root", "system")
)
"""Ids that no tenant has: a tenant's id is its user name at the MQTT broker, and these are the platform's own."""
PARTY: Final = re.compile(r"[A-Z]{2}\*[A-Z0-9]{3}")
CURRENCY: Final = re.compile(r"[A-Z]{3}")
COUNTRY: Final = re.compile(r"[A-Z]{3}")


def tenant_aggregate_id(tenant: str) -> str:
    return f"tenant|{tenant}"


class TenantParty(Value, frozen=True, kw_only=True):
    """The tenant as a CPO: country code and party id upper case, and its OCPI BusinessDetails."""

    country_code: str
    party_id: str
    business_details: JSONObject = {}

    @property
    def id(self) -> PartyId:
        return PartyId(country_code=self.country_code, party_id=self.party_id)


class Features(Value, frozen=True, kw_only=True):
    """What the tenant's charge points are asked for: charging profiles, and messages on demand."""

    smart_charging: bool = True
    remote_trigger: bool = True


class MessageTimeouts(Value, frozen=True, kw_only=True):
    """In seconds: how long a call to a charge point waits for its answer once it is on the wire, and how long one may
    wait to be sent where nobody says."""

    call_seconds: int = 30
    expiry_seconds: int = 120


class Configuration(Value, frozen=True, kw_only=True):
    """What a tenant can set. Rate limits are per second; `id_prefix` finds the tenant of a charge point's id;
    `heartbeat_interval` is the seconds that its charge points are told at their boot.

    `charge_point_configuration` are configuration variables that all of its charge points shall have, by key.
    `max_auto_registered` of the charge points that took themselves in (`auto_register`) may wait for an operator, at
    `default_location` or, without one, at a place that is told to nobody. Without `ocpi` the tenant is no party: its
    charges are settled under the hub's own party and told to nobody. A transaction is given up
    `abandoned_after_hours` after its charge point was last heard of. Readings can be read for `readings_days`.
    `roaming_owners` are eMSPs such as `NL*EMS`: of several that have put a token with one uid the first of these
    decides, then the one that put it first. Without `concurrent_transactions` an id tag charges at one of the
    tenant's charge points at a time: a start at another one is answered ConcurrentTx, unless it is told late.
    """

    max_charge_points: int = 1000
    max_auto_registered: int = 100
    api_rate_limit: int = 100
    ocpp_rate_limit: int = 1000
    queue_enabled: bool = True
    worker_pool_size: int = 4
    auto_register: bool = False
    default_location: Site | None = None
    id_prefix: str = ""
    currency: str = "EUR"
    time_zone: str = "UTC"
    default_tariff_id: str = ""
    ocpi: TenantParty | None = None
    roaming_owners: tuple[str, ...] = ()
    features: Features = Features()
    message_timeouts: MessageTimeouts = MessageTimeouts()
    heartbeat_interval: int = 300
    charge_point_configuration: dict[str, str] = {}
    validation: str = "lenient"
    session_update_seconds: int = 30
    abandoned_after_hours: int = ABANDONED_AFTER_H
    concurrent_transactions: bool = True
    readings_days: int = 730

    @property
    def session_update(self) -> timedelta:
        """How long the eMSP waits between two pushes of a session that goes on."""
        return timedelta(seconds=self.session_update_seconds)

    def settings(self, revision: int, hub: PartyId) -> Settings:
        """What a decision about a charge needs of it."""
        return Settings(
            revision=revision,
            party=self.ocpi.id if self.ocpi else hub,
            currency=self.currency,
            time_zone=self.time_zone,
            abandoned_after_hours=self.abandoned_after_hours,
            concurrent_transactions=self.concurrent_transactions,
        )


HELD_BY_PLATFORM: Final = (
    "max_charge_points",
    "max_auto_registered",
    "api_rate_limit",
    "ocpp_rate_limit",
    "queue_enabled",
    "worker_pool_size",
    "id_prefix",
    "ocpi",
)
"""What the platform grants: shares of what all tenants use, and names that no two may have."""

_LONGEST_S: Final = int(EXPIRY_LONGEST.total_seconds())
HEARTBEAT_LEAST_S, HEARTBEAT_MOST_S = 10, 86_400
"""Below, a fleet floods us (BOOT-7); above, its clocks drift (J-18: at least one heartbeat a day)."""

BOUNDS: Final[dict[str, tuple[int, int]]] = {
    "max_charge_points": (1, 1_000_000),
    "max_auto_registered": (0, 1_000_000),
    "api_rate_limit": (1, 1_000_000),
    "ocpp_rate_limit": (1, 1_000_000),
    "worker_pool_size": (1, 10_000),
    "session_update_seconds": (1, 86_400),
    "message_timeouts.call_seconds": (1, _LONGEST_S),
    "message_timeouts.expiry_seconds": (1, _LONGEST_S),
    "abandoned_after_hours": (1, 24 * 366),
    "readings_days": (1, 10 * 366),
    "heartbeat_interval": (HEARTBEAT_LEAST_S, HEARTBEAT_MOST_S),
}
"""The least and the most of every number, by its path."""

_ZONES: Final = frozenset(available_timezones())
_ID_PREFIX: Final = re.compile(r"[!-.0-9;-~]{0,48}")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_LOCATION_ID: Final = re.compile(r"[!-.0-~]{1,36}")
_DEGREES: Final = re.compile(r"-?[0-9]{1,3}(\.[0-9]{1,7})?")
_LARGEST_NUMBER = 2**53
_MOST_OWNERS = 500
_LONGEST_TEXT, _MOST_VALUES, _DEEPEST = 2_000, 500, 8


def held_back(before: Configuration, after: Configuration) -> str:
    """The first setting that only the platform may change and that differs; empty where none does."""
    for name in HELD_BY_PLATFORM:
        was, wanted = getattr(before, name), getattr(after, name)
        if name == "ocpi":  # what it says of itself is its own
            was, wanted = before.ocpi and before.ocpi.id, after.ocpi and after.ocpi.id
        if was != wanted:
            return name
    return ""


def wrong_in(configuration: Configuration) -> str:
    """What cannot be, as `field: reason`, or nothing."""
    return _wrong_number(configuration) or _wrong_text(configuration) or _wrong_value(configuration)


def _wrong_number(configuration: Configuration) -> str:
    for path, (least, most) in BOUNDS.items():
        value: Any = configuration
        for name in path.split("."):
            value = getattr(value, name)
        if not least <= value <= most:
            return f"{path}: must be from {least} to {most}"
    return ""


def _wrong_text(configuration: Configuration) -> str:
    if not _ID_PREFIX.fullmatch(configuration.id_prefix):
        return "id_prefix: must have at most 48 printable ASCII characters without / and :"
    if len(configuration.default_tariff_id) > 36:
        return "default_tariff_id: must have at most 36 characters"
    if not CURRENCY.fullmatch(configuration.currency):
        return f"currency: must be an ISO 4217 code such as EUR, got {configuration.currency[:20]!r}"
    if configuration.time_zone not in _ZONES:
        return f"time_zone: must be an IANA name such as Europe/Berlin, got {configuration.time_zone[:40]!r}"
    if configuration.validation not in ("strict", "lenient"):
        return f"validation: must be strict or lenient, got {configuration.validation[:20]!r}"
    return ""


def _wrong_value(configuration: Configuration) -> str:
    site, party = configuration.default_location, configuration.ocpi
    if site is not None and (wrong := _wrong_site(site)):
        return f"default_location.{wrong}"
    if party is not None:
        if not PARTY.fullmatch(str(party.id)):
            return (
                "ocpi: must be a party such as DE and ABC, "
                f"got {party.country_code[:10]!r} and {party.party_id[:10]!r}"
            )
        if wrong := _wrong_json(party.business_details):
            return f"ocpi.business_details: {wrong}"
    if wrong := wrong_defaults(configuration.charge_point_configuration):
        return f"charge_point_configuration{wrong}"
    if len(configuration.roaming_owners) > _MOST_OWNERS:
        return f"roaming_owners: must be at most {_MOST_OWNERS}"
    for owner in configuration.roaming_owners:
        if not PARTY.fullmatch(owner):
            return f"roaming_owners: must be parties such as NL*EMS, got {owner[:20]!r}"
    return ""


def _wrong_site(site: Site) -> str:
    if not _LOCATION_ID.fullmatch(site.id):
        return "id: must have 1 to 36 printable ASCII characters without /"
    for name, most in (("name", 255), ("address", 45), ("city", 45), ("postal_code", 10)):
        if len(getattr(site, name)) > most:
            return f"{name}: must have at most {most} characters"
        if _CONTROL.search(getattr(site, name)):
            return f"{name}: must have no control characters"
    if site.country and not COUNTRY.fullmatch(site.country):
        return f"country: must be an ISO 3166-1 alpha-3 code such as DEU, got {site.country[:10]!r}"
    if site.time_zone not in _ZONES:
        return f"time_zone: must be an IANA name such as Europe/Berlin, got {site.time_zone[:40]!r}"
    if site.coordinates is not None:
        for name, bound in (("latitude", 90), ("longitude", 180)):
            degrees = getattr(site.coordinates, name)
            if not _DEGREES.fullmatch(degrees) or abs(float(degrees)) > bound:
                return f"coordinates.{name}: must be a text of degrees up to {bound} with at most 7 decimals"
    return ""


def _wrong_json(value: object) -> str:
    """What the log or a read model could not hold of a value that we only pass on."""
    left, level = [value], 0
    values = 0
    while left:
        level, values = level + 1, values + len(left)
        if level > _DEEPEST or values > _MOST_VALUES:
            return f"must have at most {_MOST_VALUES} values, {_DEEPEST} levels deep"
        below: list[object] = []
        for one in left:
            if isinstance(one, int | float) and not abs(one) <= _LARGEST_NUMBER:
                return f"numbers must lie between -{_LARGEST_NUMBER} and {_LARGEST_NUMBER}"
            if isinstance(one, str) and (len(one) > _LONGEST_TEXT or "\0" in one):
                return f"texts must have at most {_LONGEST_TEXT} characters, none of them NUL"
            if isinstance(one, dict):
                below += [*one, *one.values()]
            elif isinstance(one, list | tuple):
                below += one
        left = below
    return ""


class PartCounts(Value, frozen=True, kw_only=True):
    """What a part of the fleet has said, as of its `version`."""

    version: int
    counts: Counts


class TenantState(msgspec.Struct, omit_defaults=True):
    name: str = ""
    configuration: Configuration = Configuration()
    prefix_claim: int = 0  # the number of the claim on its `id_prefix`, or on the last one that it had
    fleet: dict[int, PartCounts] = {}
    counts: Counts = Counts()

    def counts_with(self, part: int, counts: Counts) -> Counts:
        """The whole fleet's, once this part's are these."""
        before = self.fleet[part].counts if part in self.fleet else Counts()
        return Counts(
            charge_points=self.counts.charge_points + counts.charge_points - before.charge_points,
            automatic=self.counts.automatic + counts.automatic - before.automatic,
        )

    @property
    def room_for_operators(self) -> int:
        """How many more an operator may register. Those that took themselves in take no operator's place."""
        registered = self.counts.charge_points - self.counts.automatic
        return max(0, self.configuration.max_charge_points - registered)

    @property
    def room_for_strangers(self) -> int:
        """How many more may take themselves in."""
        of_all = self.configuration.max_charge_points - self.counts.charge_points
        of_automatic = self.configuration.max_auto_registered - self.counts.automatic
        return max(0, min(of_all, of_automatic))


class Tenant(Aggregate[TenantState]):
    """`tenant|{id}`."""

    kind: ClassVar[str] = "tenant"
    state_type = TenantState


class TenantCreated(Event, frozen=True, kw_only=True, tag="tenant.created.v1"):
    """The tenant exists; its database is `ocpp_{tenant}`. `prefix_claim` is the number of its prefix's claim."""

    tenant: str
    name: str
    configuration: Configuration
    prefix_claim: int = 0

    def apply(self, aggregate: Tenant) -> None:
        aggregate.state.name, aggregate.state.configuration = self.name, self.configuration
        aggregate.state.prefix_claim = self.prefix_claim


class TenantConfigured(Event, frozen=True, kw_only=True, tag="tenant.configured.v1"):
    """Its configuration as a whole, from now on.

    `prefix_claim` where `id_prefix` is another: up to this number no claim but that on the new one is needed.
    """

    configuration: Configuration
    prefix_claim: int = 0

    def apply(self, aggregate: Tenant) -> None:
        aggregate.state.configuration = self.configuration
        aggregate.state.prefix_claim = self.prefix_claim or aggregate.state.prefix_claim


class TenantFleetCounted(Event, frozen=True, kw_only=True, tag="tenant.fleet_counted.v1"):
    """A part of its fleet has other numbers; `counts` are the whole fleet's with them."""

    part: int
    part_counts: PartCounts
    counts: Counts

    def apply(self, aggregate: Tenant) -> None:
        state = aggregate.state
        state.fleet[self.part] = self.part_counts
        state.counts = self.counts


AGGREGATE_EVENTS = (TenantCreated, TenantConfigured, TenantFleetCounted)
