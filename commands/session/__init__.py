"""What can be asked of a session of ours: start, usage, connector states, the end.

The end is priced and its CDR issued in the same decision, from the session's own state alone. Whatever was read or
said, the session ends: a CDR without a price, or that OCPI does not allow, is withheld until that is mended.
"""

from commands.session.handlers import ROUTES
from commands.session.models import (
    END_BY_HAND,
    UNUSABLE_READING,
    EndSession,
    FindSession,
    FoundSession,
    IssueCdr,
    Issuing,
    RecordConnector,
    RecordUsage,
    StartSession,
)

__all__ = [
    "END_BY_HAND",
    "ROUTES",
    "UNUSABLE_READING",
    "EndSession",
    "FindSession",
    "FoundSession",
    "IssueCdr",
    "Issuing",
    "RecordConnector",
    "RecordUsage",
    "StartSession",
]
