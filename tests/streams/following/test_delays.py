"""Delays are those of what came lately."""

from __future__ import annotations

from streams.following.delays import LATELY, MOST, Delays


def test_what_ended_long_ago_says_nothing_of_now() -> None:
    now = 100.0
    delays = Delays(lambda: now)
    delays.note([9.0, 8.0])
    now += LATELY
    delays.note([0.1])
    assert delays.recent() == [9.0, 8.0, 0.1]
    now += 0.5
    assert delays.recent() == [0.1]


def test_they_are_bounded() -> None:
    delays = Delays(lambda: 0.0)
    delays.note(float(number) for number in range(MOST + 10))
    assert delays.recent() == [float(number) for number in range(10, MOST + 10)]
