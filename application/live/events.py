"""What a stream tells: public events, and what becomes of the stream itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from projections.public import short_name, structured
from streams.log import Stored

LAGGED: Final = "lagged"
"""It took more slowly than things happened: what it had no room for follows later."""
GAP: Final = "gap"
"""Something between its bookmark and what follows cannot be told any more."""
CLOSED: Final = "closed"
"""It ends here."""


class Lagged(msgspec.Struct, frozen=True):
    """`position`: up to where it was told; the same as the event's id."""

    position: str


class Gap(msgspec.Struct, frozen=True):
    """`topics`: of which nouns something cannot be told any more, as `docs/events.md` names them."""

    topics: list[str]


class Closed(msgspec.Struct, frozen=True):
    """`reason`: `shutdown`, `interrupted` or `token_expired`."""

    reason: str


SHUTDOWN: Final = "shutdown"
INTERRUPTED: Final = "interrupted"
TOKEN_EXPIRED: Final = "token_expired"


class LiveEvent(NamedTuple):
    """`id` is the bookmark behind it, `data` one line of JSON."""

    id: str
    name: str
    data: bytes


class _About(msgspec.Struct):
    charge_point_id: str | None = None


_about = msgspec.json.Decoder(_About)


class Told:
    """A record of the public topics, read so far as it is needed. Raises KeyError and ValueError for any other."""

    __slots__ = ("_value", "data", "name", "offset", "tenant")

    def __init__(self, stored: Stored) -> None:
        self._value = stored.value or b""
        self.offset = stored.offset
        self.tenant = tenant_of(stored)
        self.name = short_name(dict(stored.headers)["ce_type"].decode())
        self.data = structured(stored.headers, self._value)

    @property
    def charge_point_id(self) -> str | None:
        """At which charge point it happened, where it is about one."""
        try:
            return _about.decode(self._value).charge_point_id
        except msgspec.DecodeError:
            return None


def tenant_of(stored: Stored) -> str:
    """Whose it is; nobody's where no tenant is named."""
    for name, value in stored.headers:
        if name == "ce_tenantid":
            return value.decode()
    return ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one listener hears: of one tenant; of these types, or of all where none is named; of these charge points,
    or of all where it is None."""

    tenant: str
    types: frozenset[str] = frozenset()
    charge_points: frozenset[str] | None = None

    def takes(self, told: Told) -> bool:
        """Whether this is for it."""
        return (
            told.tenant == self.tenant
            and (not self.types or told.name in self.types)
            and (self.charge_points is None or told.charge_point_id in self.charge_points)
        )
