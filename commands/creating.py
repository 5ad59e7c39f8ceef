"""Which commands create: what any other one says of an aggregate that does not exist is refused, and makes no event.

A charge's facts may come in any order, so that each of them may be the first that its session hears.
"""

from __future__ import annotations

from commands.base import Command
from commands.charge_point.models import Connect, Register
from commands.delivery import Want
from commands.directory import ClaimParties, ClaimPrefix
from commands.fleet import CountChargePoint
from commands.foreign_cdr import PostForeignCdr
from commands.foreign_session import PutForeignSession
from commands.job import RequestJob
from commands.job_items import ListItems
from commands.key import CreateKey
from commands.knocking import ReportKnocks
from commands.location import NoteSite, PutLocation
from commands.partner import CreatePartner
from commands.pushes import TakeOver
from commands.remote_command import RequestRemoteCommand
from commands.session import EndSession, RecordConnector, RecordUsage, StartSession
from commands.subject import RevokeSubject
from commands.tag import ClaimTag, FreeTag, HoldTag
from commands.tariff import PutTariff
from commands.tenant import CreateTenant
from commands.token import ErasePersonalData, PutToken

CREATING: frozenset[type[Command]] = frozenset(
    {
        Register,  # charge_point
        Connect,
        StartSession,  # session
        RecordUsage,
        RecordConnector,
        EndSession,
        PutForeignSession,  # foreign_session
        PostForeignCdr,  # foreign_cdr
        PutToken,  # token
        ErasePersonalData,
        CreateTenant,  # tenant
        ClaimParties,  # directory
        ClaimPrefix,
        CreatePartner,  # partner
        PutTariff,  # tariff
        RequestRemoteCommand,  # remote_command
        Want,  # delivery
        TakeOver,  # pushes
        ReportKnocks,  # knocking
        ClaimTag,  # tag
        HoldTag,
        FreeTag,
        CountChargePoint,  # fleet
        CreateKey,  # key
        RevokeSubject,  # subject
        RequestJob,  # job
        ListItems,  # job_items
        PutLocation,  # location
        NoteSite,
    }
)
