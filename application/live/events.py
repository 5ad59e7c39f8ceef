"""What a stream tells: public events, and what becomes of the stream itself."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Final, NamedTuple

import msgspec

from projections.public import short_name, structured
from streams.log import Stored
from streams.log.topology import PUBLIC

logger = logging.getLogger(__name__)

MASK: Final = "***"
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
    """`reason`: `shutdown`, `interrupted`, `token_expired` or `revoked`."""

    reason: str


SHUTDOWN: Final = "shutdown"
INTERRUPTED: Final = "interrupted"
TOKEN_EXPIRED: Final = "token_expired"
REVOKED: Final = "revoked"


class LiveEvent(NamedTuple):
    """`id` is the bookmark behind it, `data` one line of JSON."""

    id: str
    name: str
    data: bytes


_ESCAPED: Final = {ord(end): f"\\u{ord(end):04x}" for end in "\x85\u2028\u2029"}
"""No ends of lines to WHATWG HTML, 9.2.5, but to Python's `splitlines`, and so to clients that use it."""
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_text = msgspec.json.Decoder(str | None)


class Told:
    """A record of the public topics, whole and in one line. Raises KeyError and ValueError for another one, which is
    damaged or somebody else's: what listeners are told of a record raises nothing any more.

    `charge_point_id`: at which charge point it happened, where it is about one.
    """

    __slots__ = ("_fields", "_masked", "_stored", "charge_point_id", "data", "name", "tenant")

    def __init__(self, stored: Stored) -> None:
        value = stored.value or b""
        self._stored = stored
        self._masked = b""
        self._fields = _fields.decode(value)
        self.charge_point_id = _text.decode(self._fields.get("charge_point_id", b"null"))
        self.tenant = tenant_of(stored)
        self.name = short_name(dict(stored.headers)["ce_type"].decode())
        self.data = _line(structured(stored.headers, value))
        if not self.name.isidentifier():
            raise ValueError("has a type that is no name")

    @classmethod
    def of(cls, stored: Stored) -> Told | None:
        """None, and a line, for a record that is no public event."""
        try:
            return cls(stored)
        except (KeyError, ValueError):
            logger.warning("%s[%d]@%d is no public event", stored.topic, stored.partition, stored.offset)
            return None

    @property
    def of_people(self) -> bool:
        """Whether it is about a token, and nothing else."""
        return self._stored.topic == PUBLIC["tokens"]

    @property
    def masked(self) -> bytes:
        """`data` without what tells one person's charges from another's."""
        if not self._masked:
            if "token_key" in self._fields:
                value = msgspec.json.encode({**self._fields, "token_key": MASK})
                self._masked = _line(structured(self._stored.headers, value))
            else:
                self._masked = self.data
        return self._masked


def _line(data: bytes) -> bytes:
    """JSON whose texts hold nothing that any client takes for the end of a line. Raises ValueError where there are
    lines already, or what is no UTF-8."""
    if b"\n" in data or b"\r" in data:
        raise ValueError("is more than one line")
    if data.isascii():
        return data
    return data.decode().translate(_ESCAPED).encode()


def tenant_of(stored: Stored) -> str:
    """Whose it is; nobody's where no tenant is named."""
    for name, value in stored.headers:
        if name == "ce_tenantid":
            return value.decode(errors="replace")
    return ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What one listener hears: of one tenant; of these types, or of all where none is named; of these charge points,
    or of all where it is None. Who may not see `people` hears nothing of tokens, and their keys masked."""

    tenant: str
    types: frozenset[str] = frozenset()
    charge_points: frozenset[str] | None = None
    people: bool = False

    def takes(self, told: Told) -> bool:
        """Whether this is for it."""
        return (
            told.tenant == self.tenant
            and (self.people or not told.of_people)
            and (not self.types or told.name in self.types)
            and (self.charge_points is None or told.charge_point_id in self.charge_points)
        )

    def event(self, told: Told, id: str) -> LiveEvent:
        """What it hears of this, with the bookmark behind it."""
        return LiveEvent(id, told.name, told.data if self.people else told.masked)
