"""Commands of a session."""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Final

import msgspec

from commands.base import Area, Command
from domain.session import (
    End,
    session_aggregate_id,
)
from domain.values import (
    Authorization,
    Connector,
    JSONObject,
    PartyId,
    RegisterSample,
    Settings,
    Site,
    TagRef,
    Value,
)

UNUSABLE_READING: Final = "unusable_reading"
END_BY_HAND: Final = "end_by_hand"


class _OfSession(Command, frozen=True, kw_only=True):
    area: ClassVar[Area] = Area.SESSION
    recognised: ClassVar[bool] = True  # one start, readings and changes by their times, the surest end
    session_id: str

    @property
    def aggregate_id(self) -> str:
        return session_aggregate_id(self.session_id)


class FindSession(_OfSession, frozen=True, kw_only=True, tag="session.find.v1"):
    """Ask the log itself for a session that runs: answered with `FoundSession`, or refused UNKNOWN; for an edge whose
    read model may not show it yet."""

    remembered: ClassVar[bool] = False


class FoundSession(Value, frozen=True, kw_only=True):
    """Where it runs, and whose token charges; `party` is the tenant's."""

    tenant: str
    charge_point_id: str
    transaction_id: int
    party: PartyId
    owner: PartyId | None = None
    holder: str = ""


class StartSession(_OfSession, frozen=True, kw_only=True, tag="session.start.v1"):
    """A transaction began; `status` is the idTagInfo status that the charge point was answered.

    Here as in every command, times are by the charge point's clock, which runs `clock_offset_s` ahead of ours.
    """

    tenant: str
    charge_point_id: str
    connector_id: int
    transaction_id: int
    evse_uid: str
    evse_id: str = ""
    connector: Connector | None = None
    site: Site
    id_tag: TagRef
    authorization: Authorization
    status: str
    start: datetime
    clock_offset_s: int = 0
    meter_start: int
    settings: Settings
    tariffs: tuple[JSONObject, ...] = ()
    remote_command_id: str = ""
    flags: tuple[str, ...] = ()


class RecordUsage(_OfSession, frozen=True, kw_only=True, tag="session.record_usage.v1"):
    """Register samples that the session was not told yet, oldest first."""

    samples: tuple[RegisterSample, ...]
    clock_offset_s: int = 0


class RecordConnector(_OfSession, frozen=True, kw_only=True, tag="session.record_connector.v1"):
    """The connector's status while the session runs."""

    at: datetime
    status: str
    clock_offset_s: int = 0


class IssueCdr(_OfSession, frozen=True, kw_only=True, tag="session.issue_cdr.v1"):
    """The CDR that was withheld, by the tenant's master data as they are now; asked of us by a person.

    Without `site` the charge point is gone: where it stood and its tariffs are as they were. `energy_wh` (since the
    start) and `ended_at` (by our clock) are what the person says instead of the charge point, `note` is why.
    """

    after_all: ClassVar[bool] = True
    tenant: str
    settings: Settings
    site: Site | None = None
    evse_uid: str = ""
    evse_id: str = ""
    connector: Connector | None = None
    tariffs: tuple[JSONObject, ...] = ()
    energy_wh: int | None = None
    ended_at: datetime | None = None
    by: str
    note: str


class Issuing(msgspec.Struct, frozen=True):
    """What became of it: the CDR's id, and the field that still stands in its way, empty where it is issued."""

    cdr_id: str
    field: str = ""
    value: str = ""
    reason: str = ""


class EndSession(_OfSession, frozen=True, kw_only=True, tag="session.end.v1"):
    """The transaction stopped; `samples` are those that the session was not told yet.

    One that the charge point did not report itself is corrected by a surer one, whenever that comes; `after_all` says
    that it may be one.
    """

    after_all: bool = False  # type: ignore[misc]
    end: End
    samples: tuple[RegisterSample, ...] = ()
