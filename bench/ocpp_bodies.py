"""Bodies that nobody should send: random bytes, and frames and payloads with something broken in them.

In: a seed. Out: an endless stream of `(action, frame)`, the same for the same seed. About one in ten is random; the
others are generated payloads, a third of them left as they are, the rest cut, doubled, flipped, or spiked with what
breaks parsers.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import islice
from typing import Final

from bench.ocpp_payloads import payloads
from protocols.ocpp.v16 import REQUESTS

SPIKES: Final = (
    b"NaN",
    b"Infinity",
    b"-Infinity",
    b"1e999999",
    b"-1E-999999",
    b"9" * 400,
    b"9" * 5000,
    b"0." + b"1" * 500,
    b"01",
    b"-",
    b'"\\ud800"',
    b'"\\udc00\\ud800"',
    b'"\\uD83D\\uDE00"',
    b'"\\u0000"',
    b'"\\x"',
    b"\xff\xfe",
    b"\xed\xa0\x80",
    b"\xef\xbb\xbf",
    b"\x00",
    b"[" * 200,
    b'{"a":' * 200,
    b"[" * 40 + b"]" * 40,
    b'"2024-02-30T00:00:00Z"',
    b'"' + b"\\\\" * 100,
    b'"a":1,"a":2,',
    b"null",
    b"true",
    b"{}",
    b"[]",
    b",",
    b'"',
    b"}",
)


def bodies(seed: int) -> Iterator[tuple[str, bytes]]:
    """Frames, each with the action whose payload it was made from."""
    chance = random.Random(seed)
    actions = sorted(REQUESTS)
    sources = {name: payloads(name, seed) for action in actions for name in (action, f"{action}Response")}
    while True:
        action = chance.choice(actions)
        if chance.random() < 0.5:
            frame = b'[2,"%d","%b",%b]' % (chance.randrange(10**6), action.encode(), next(sources[action]))
        else:
            frame = b'[3,"%d",%b]' % (chance.randrange(10**6), next(sources[f"{action}Response"]))
        if chance.random() < 0.1:
            frame = chance.randbytes(chance.randrange(300))
        for _ in range(chance.choice((0, 0, 1, 1, 2, 3))):
            frame = _break(frame, chance)
        yield action, frame


def _break(frame: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(frame) + 1)
    to = min(len(frame), at + chance.randrange(30))
    match chance.randrange(7):
        case 0:
            return frame[:at]
        case 1:
            return frame[:at] + frame[to:]
        case 2:
            return frame[:to] + frame[at:]
        case 3:
            return frame[:at] + bytes((chance.randrange(256),)) + frame[at + 1 :]
        case 4:
            return frame[:at] + chance.choice(SPIKES) + frame[to:]
        case 5:
            colon = frame.find(b":", at)
            return frame[: colon + 1] + chance.choice(SPIKES) + frame[colon + 1 :]
        case _:
            return frame[:at] + chance.choice(SPIKES) + frame[at:]


def sample(seed: int, count: int) -> list[tuple[str, bytes]]:
    """The first `count` bodies."""
    return list(islice(bodies(seed), count))
