"""Times of read models: one form, so that texts are compared instead of times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

from projections.moment import utc_text


def test_every_time_has_three_digits_of_a_second_and_is_utc() -> None:
    berlin = timezone(timedelta(hours=2))
    assert utc_text(datetime(2026, 5, 1, 14, 0, 0, tzinfo=berlin)) == "2026-05-01T12:00:00.000Z"
    assert utc_text(datetime(2026, 5, 1, 12, 0, 0, 120_999, tzinfo=UTC)) == "2026-05-01T12:00:00.120Z"
    assert utc_text(None) is None


def test_texts_sort_as_their_times_do() -> None:
    second = datetime(2026, 5, 1, 12, tzinfo=UTC)
    times = [second + timedelta(milliseconds=n) for n in (0, 1, 10, 100, 999, 1000, 1001)]
    texts = [str(utc_text(moment)) for moment in times]
    assert sorted(texts) == texts
    assert len(set(texts)) == len(texts)
