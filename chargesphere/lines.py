"""The lines of a process on standard error: the same one again within a minute is counted, not printed.

Whatever waits for a neighbour says so each time it tries; the one who reads wants to hear it once.
"""

from __future__ import annotations

import logging
import time
from collections import OrderedDict
from collections.abc import Callable

SECONDS = 60.0
MOST_TEXTS = 1_000
FORM = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class Repeats(logging.Filter):
    """Lets a text through once in `seconds`, then with how often it came meanwhile."""

    def __init__(self, seconds: float = SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__()
        self._seconds = seconds
        self._clock = clock
        self._texts: OrderedDict[tuple[str, int, str], tuple[float, int]] = OrderedDict()

    def filter(self, record: logging.LogRecord) -> bool:
        text, now = record.getMessage(), self._clock()
        key = (record.name, record.levelno, text)
        until, count = self._texts.get(key, (now, 0))
        if now < until:
            self._texts[key] = (until, count + 1)
            return False
        if count:
            record.msg, record.args = f"{text} (and {count} times before)", ()
        self._texts[key] = (now + self._seconds, 0)
        self._texts.move_to_end(key)
        if len(self._texts) > MOST_TEXTS:
            self._texts.popitem(last=False)
        return True


def print_lines() -> None:
    """Warnings and worse, from now on; what is configured already stays."""
    handler = logging.StreamHandler()
    handler.addFilter(Repeats())
    logging.basicConfig(level=logging.WARNING, format=FORM, handlers=[handler])
