"""A tenant: one customer of the central system, with its name and its configuration.

The whole configuration stands in each event, so that any moment's settings can be read from one fact; the revision
of the settings is the version of the aggregate.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import ClassVar, Final
from zoneinfo import available_timezones

import msgspec

from domain.aggregate import Aggregate, Event
from domain.values import JSONObject, PartyId, Settings, Site, Value

TENANT_ID: Final = re.compile(r"[a-z0-9-]{1,32}")
PARTY: Final = re.compile(r"[A-Z]{2}\*[A-Z0-9]{3}")
CURRENCY: Final = re.compile(r"[A-Z]{3}")


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
    """What the tenant's charge points are asked for."""

    smart_charging: bool = True
    remote_trigger: bool = True


class MessageTimeouts(Value, frozen=True, kw_only=True):
    """In seconds: how long a call to a charge point waits for its answer, and how long one may wait to be sent."""

    call_seconds: int = 30
    expiry_seconds: int = 120


class RetryPolicy(Value, frozen=True, kw_only=True):
    """In seconds: the waits of a failed delivery double from the first to the longest, until it is given up."""

    first_wait_seconds: int = 5
    longest_wait_seconds: int = 900
    give_up_seconds: int = 86_400


class Configuration(Value, frozen=True, kw_only=True):
    """What a tenant can set. Rate limits are per second; `id_prefix` finds the tenant of a charge point's id.

    Without `ocpi` the tenant is no party: its charges are settled under the hub's own party and told to nobody.
    `roaming_owners` are eMSPs such as `NL*EMS`: of several that have put a token with one uid the first of these
    decides, then the one that put it first.
    """

    max_charge_points: int = 1000
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
    default_charging_profiles: tuple[JSONObject, ...] = ()
    message_timeouts: MessageTimeouts = MessageTimeouts()
    retry_policy: RetryPolicy = RetryPolicy()
    validation: str = "strict"
    session_update_seconds: int = 30

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
        )


_AT_LEAST_ONE: Final = (
    "max_charge_points",
    "api_rate_limit",
    "ocpp_rate_limit",
    "worker_pool_size",
    "session_update_seconds",
)
_ZONES: Final = frozenset(available_timezones())


def wrong_in(configuration: Configuration) -> str:
    """What cannot be, as `field: reason`, or nothing."""
    for name in _AT_LEAST_ONE:
        if getattr(configuration, name) < 1:
            return f"{name}: must be at least 1, got {getattr(configuration, name)}"
    for group in ("message_timeouts", "retry_policy"):
        for name, seconds in msgspec.structs.asdict(getattr(configuration, group)).items():
            if seconds < 1:
                return f"{group}.{name}: must be at least 1, got {seconds}"
    if not CURRENCY.fullmatch(configuration.currency):
        return f"currency: must be an ISO 4217 code such as EUR, got {configuration.currency!r}"
    if configuration.time_zone not in _ZONES:
        return f"time_zone: must be an IANA name such as Europe/Berlin, got {configuration.time_zone!r}"
    if configuration.validation not in ("strict", "lenient"):
        return f"validation: must be strict or lenient, got {configuration.validation!r}"
    if configuration.auto_register and configuration.default_location is None:
        return "default_location: is required with auto_register"
    party = configuration.ocpi
    if party is not None and not PARTY.fullmatch(str(party.id)):
        return f"ocpi: must be a party such as DE and ABC, got {party.country_code!r} and {party.party_id!r}"
    for owner in configuration.roaming_owners:
        if not PARTY.fullmatch(owner):
            return f"roaming_owners: must be parties such as NL*EMS, got {owner[:20]!r}"
    return ""


class TenantState(msgspec.Struct, omit_defaults=True):
    name: str = ""
    configuration: Configuration = Configuration()


class Tenant(Aggregate[TenantState]):
    """`tenant|{id}`."""

    kind: ClassVar[str] = "tenant"
    state_type = TenantState


class Created(Event, frozen=True, kw_only=True, tag="tenant.created.v1"):
    """The tenant exists; its database is `ocpp_{tenant}`."""

    tenant: str
    name: str
    configuration: Configuration

    def apply(self, aggregate: Tenant) -> None:
        aggregate.state.name, aggregate.state.configuration = self.name, self.configuration


class Configured(Event, frozen=True, kw_only=True, tag="tenant.configured.v1"):
    """Its configuration as a whole, from now on."""

    configuration: Configuration

    def apply(self, aggregate: Tenant) -> None:
        aggregate.state.configuration = self.configuration


AGGREGATE_EVENTS = (Created, Configured)
