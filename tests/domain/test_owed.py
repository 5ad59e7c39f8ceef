"""What a partner is owed by what happened to a session of its token."""

from __future__ import annotations

import pytest

from domain.aggregate import Event, EventRegistry
from domain.foreign_session import AGGREGATE_EVENTS, ForeignSession
from domain.owed import owed
from domain.values import PartyId
from tests.domain.golden import golden
from tests.projections.facts import MSP, corrected, ended, priced, started, used, withheld


@pytest.mark.parametrize(
    ("events", "version", "urgent", "cdrs"),
    [
        ([started()], 1, True, 0),
        ([used(2, 60, 900, owner=MSP)], 2, False, 0),
        ([ended(3, 600, 4200), priced(4, 600)], 4, True, 1),
        ([ended(3, 600, 4200), withheld(4, 600)], 4, True, 0),
        ([corrected(5, 700, 4300), priced(6, 700)], 6, True, 1),
    ],
    ids=["start", "usage", "end", "end without a CDR", "correction"],
)
def test_each_change_is_owed_at_its_version_and_a_beginning_and_an_end_at_once(
    events: list[Event], version: int, urgent: bool, cdrs: int
) -> None:
    means = owed(events, offset=9)
    assert means is not None
    assert (means.to, means.version, means.urgent, len(means.cdrs)) == (MSP, version, urgent, cdrs)
    assert [cdr.offset for cdr in means.cdrs] == [9] * cdrs


def test_of_a_session_that_belongs_to_nobody_nothing_is_owed() -> None:
    assert owed([used(2, 60, 900)], offset=9) is None
    assert owed([withheld(3, 60)], offset=9) is None


FOREIGN = EventRegistry({ForeignSession: AGGREGATE_EVENTS})


@pytest.mark.parametrize(
    ("names", "version", "urgent"),
    [(["begun"], 1, True), (["patched"], 2, False), (["put"], 3, False), (["put", "ended"], 4, True)],
)
def test_a_session_of_others_is_owed_like_ours(names: list[str], version: int, urgent: bool) -> None:
    events = [FOREIGN.decode(golden("foreign_session", f"foreign_session.{name}.v1")) for name in names]
    means = owed(events, offset=9)
    assert means is not None
    to = PartyId(country_code="NL", party_id="EMS")
    assert (means.to, means.version, means.urgent, means.cdrs) == (to, version, urgent, ())
