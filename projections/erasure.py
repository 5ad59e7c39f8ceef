"""Erased data keys (`chargesphere_keys.keys`): the fact that a person's data was erased enters, their keys go.

It follows the fact until it is done, and again with each rebuild, so that a key that a backup brought back goes too.
"""

from __future__ import annotations

from collections.abc import Sequence

from commands.base import Meta
from domain.aggregate import Event
from domain.token import PersonalDataErased, Token
from projections.base import Feed
from projections.store import Remove, Write

DATABASE = "chargesphere_keys"
COLLECTION = "keys"


def remove_key(subject: str) -> Remove:
    """A tombstone stays: no key is ever made for the subject again."""
    return Remove(DATABASE, COLLECTION, subject, 1)


def writes(event: Event, meta: Meta) -> Sequence[Write]:
    return (
        [remove_key(subject) for subject in event.subjects] if isinstance(event, PersonalDataErased) else ()
    )


FEED = Feed("erased_keys", Token.kind, writes)
