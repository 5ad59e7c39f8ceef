"""When the vehicle asked for no power, by what the connector said."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from domain.parking import CHANGES_MOST, StatusChange, fewer, flips, parked, with_change

T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)


def at(minutes: float) -> datetime:
    return T0 + timedelta(minutes=minutes)


def said(*changes: tuple[float, str]) -> list[StatusChange]:
    """In the order in which they came."""
    found: list[StatusChange] = []
    for minutes, status in changes:
        found = with_change(found, StatusChange(at=at(minutes), status=status))
    return found


def minutes(gaps: list[tuple[datetime, datetime]]) -> list[tuple[float, float]]:
    return [((a - T0).total_seconds() / 60, (b - T0).total_seconds() / 60) for a, b in gaps]


def test_parking_is_from_suspended_ev_or_finishing_to_the_next_other_status_or_the_end() -> None:
    changes = said((10, "SuspendedEV"), (20, "Charging"), (30, "Finishing"), (35, "SuspendedEV"))
    assert minutes(parked(changes, at(0), at(60))) == [(10, 20), (30, 60)]


def test_of_a_part_of_the_charge_it_is_what_lies_in_it() -> None:
    changes = said((10, "SuspendedEV"), (20, "Charging"), (30, "Finishing"))
    assert minutes(parked(changes, at(15), at(25))) == [(15, 20)]
    assert minutes(parked(changes, at(20), at(30))) == []
    assert minutes(parked(changes, at(32), at(40))) == [(32, 40)]


def test_a_change_that_comes_late_stands_where_it_belongs() -> None:
    assert said((20, "Charging"), (10, "SuspendedEV")) == said((10, "SuspendedEV"), (20, "Charging"))


def test_only_what_begins_or_ends_parking_is_a_flip() -> None:
    changes = said((5, "Charging"), (10, "SuspendedEV"), (15, "Finishing"), (20, "Charging"), (25, "Faulted"))
    assert flips(changes) == [at(10), at(20)]
    assert flips(changes, at(10), at(20)) == []
    assert flips(changes, at(9), at(11)) == [at(10)]


def test_of_very_many_changes_those_go_first_that_changed_nothing() -> None:
    changes = said(
        (0, "SuspendedEV"), *((1 + n, "Finishing") for n in range(CHANGES_MOST)), (600, "Charging")
    )
    kept = fewer(changes)
    assert len(kept) == CHANGES_MOST
    assert parked(kept, at(0), at(700)) == parked(changes, at(0), at(700))


def test_of_very_many_flips_those_go_first_that_lie_closest() -> None:
    pairs = [((10 * n, "SuspendedEV"), (10 * n + 5, "Charging")) for n in range(CHANGES_MOST // 2)]
    short = ((7, "SuspendedEV"), (7.5, "Charging"))
    changes = said(*(change for pair in pairs for change in pair), *short)
    kept = fewer(changes)
    assert len(kept) == CHANGES_MOST
    assert at(7) not in {change.at for change in kept}
