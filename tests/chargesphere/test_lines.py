"""What is said again and again is printed once a minute."""

from __future__ import annotations

import logging

from chargesphere.lines import Repeats


def record(message: str, *args: object, name: str = "streams.following.follower") -> logging.LogRecord:
    return logging.LogRecord(name, logging.WARNING, __file__, 1, message, args, None)


def test_the_same_line_again_is_counted_and_another_one_is_printed() -> None:
    now = 0.0
    repeats = Repeats(60, lambda: now)
    printed = []
    for number in range(240):
        now = number * 0.5
        for one in (
            record("%s waits: %s", "mqtt", "away"),
            record("%s waits: %s", "public", f"{number // 200}"),
        ):
            if repeats.filter(one):
                printed.append((now, one.getMessage()))
    assert printed == [
        (0.0, "mqtt waits: away"),
        (0.0, "public waits: 0"),
        (60.0, "mqtt waits: away (and 119 times before)"),
        (60.0, "public waits: 0 (and 119 times before)"),
        (100.0, "public waits: 1"),
    ]


def test_the_same_text_of_another_part_is_another_line() -> None:
    repeats = Repeats(60, lambda: 0.0)
    assert repeats.filter(record("away"))
    assert repeats.filter(record("away", name="streams.following.lag"))
    assert not repeats.filter(record("away"))


def test_texts_that_never_come_again_are_forgotten() -> None:
    repeats = Repeats(60, lambda: 0.0)
    assert all(repeats.filter(record("%d", number)) for number in range(5000))
    assert len(repeats._texts) == 1000
