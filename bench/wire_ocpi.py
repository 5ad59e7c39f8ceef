"""OCPI on the wire: what typed reading and writing costs, and a fuzz run over every object.

`python -m bench.wire_ocpi [--seconds S]` prints a row for a Location with 2 EVSEs, a Session, a CDR and a Tariff:
microseconds of parse (decode and validate) and dump beside plain `json.loads` and `json.dumps` of the same body.

`python -m bench.wire_ocpi --fuzz N [--seed S]` gives N random and mutated bodies to `parse`, every object of both
versions in turn, and counts what came of them. It ends with status 1 when an exception of another kind than
`NotJsonError` or `OcpiInvalidError` leaves, when an object that was read cannot be written and read again as the
same one, or when a body takes more than 5 ms per KB (a slow one is repeated; the median counts).
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from protocols.ocpi import NotJsonError, OcpiInvalidError, decode, dump, parse, parse_json, v2_2_1, v2_3_0
from protocols.ocpi.bridging import downgrade
from protocols.ocpi.shape import shapes
from protocols.ocpi.types import JSON, OcpiModel
from tests.protocols.ocpi.examples import EVSE, EXAMPLES

MS_PER_KB: Final = 5.0
MODULE_OF: Final = {model: module for module, models in v2_3_0.MODULES.items() for model in models}

# --- speed -----------------------------------------------------------------------------------------------


def bodies() -> dict[str, tuple[type[OcpiModel], bytes]]:
    """The four objects that are measured."""
    two: JSON = EXAMPLES["Location"] | {"evses": [EVSE, EVSE | {"uid": "3257"}]}
    return {
        "Location with 2 EVSEs": (v2_3_0.Location, dump(two)),
        "Session": (v2_3_0.Session, dump(EXAMPLES["Session"])),
        "CDR": (v2_3_0.CDR, dump(EXAMPLES["CDR"])),
        "Tariff": (v2_3_0.Tariff, dump(EXAMPLES["Tariff"])),
    }


def microseconds(work: Callable[[], object], seconds: float) -> float:
    """The median time of a call, from batches of about a millisecond."""
    begin = time.perf_counter()
    work()
    batch = max(1, int(0.001 / max(time.perf_counter() - begin, 1e-7)))
    rounds: list[float] = []
    end = time.perf_counter() + seconds
    while not rounds or time.perf_counter() < end:
        begin = time.perf_counter()
        for _ in range(batch):
            work()
        rounds.append((time.perf_counter() - begin) / batch)
    return statistics.median(rounds) * 1e6


def measure(seconds: float) -> None:
    """Prints the table; every cell is measured for `seconds`."""
    print(f"{'object':<24}{'bytes':>7}{'parse':>9}{'dump':>9}{'loads':>9}{'dumps':>9}{'ratio':>8}   (µs)")
    for name, (model, raw) in bodies().items():
        found, plain = parse(model, raw), json.loads(raw)
        calls: list[Callable[[], object]] = [
            lambda model=model, raw=raw: parse(model, raw),  # type: ignore[misc]
            lambda found=found: dump(found),  # type: ignore[misc]
            lambda raw=raw: json.loads(raw),  # type: ignore[misc]
            lambda plain=plain: json.dumps(plain),  # type: ignore[misc]
        ]
        typed_in, typed_out, plain_in, plain_out = (microseconds(call, seconds) for call in calls)
        ratio = (typed_in + typed_out) / (plain_in + plain_out)
        print(
            f"{name:<24}{len(raw):>7}{typed_in:>9.1f}{typed_out:>9.1f}{plain_in:>9.1f}{plain_out:>9.1f}{ratio:>8.2f}"
        )


# --- fuzz ------------------------------------------------------------------------------------------------

SPIKES: Final = (
    *(
        b"null",
        b"true",
        b"0",
        b"-0",
        b"-1",
        b"1.0",
        b"1e2",
        b"[]",
        b"{}",
        b'""',
        b'"#NA"',
        b'"x"',
        b'"RESERVED"',
    ),
    *(b"1e999999999", b"-1e-999999999", b"1e99999999999999999999", b"1e400", b"1e16", b"1e-41"),
    *(b"9" * 30, b"9" * 400, b"9" * 5000, b"0." + b"1" * 500, b"-" + b"1" * 900 + b".5"),
    *(
        b'"\\ud800"',
        b'"\\udc00\\ud800"',
        b'"\\ud83d\\ude00"',
        b'"\\u0000"',
        b'"\\u001f"',
        '"é\u2028😀"'.encode(),
    ),
    *(b"[" * 40 + b"]" * 40, b"[" * 900 + b"]" * 900, b'{"a":' * 40 + b"1" + b"}" * 40),
    *(
        b'"2024-02-30T00:00:00Z"',
        b'"1970-1-1T00:00:00Z"',
        b'"2024-02-29T12:00:00.123456789+02:00"',
        b'"24:00"',
    ),
    *(b'"9999-12-31T23:59:59-10:00"', b'"0001-01-01T00:00:00+14:00"', b'"2026-05-31T12:00:00"'),
    *(b'"' + b"9" * 3000 + b'"', b'"' + b"\\n" * 300 + b'"', b'"CHARGING"', b'"YES"', b'"https://x.example"'),
    *(b'{"last_updated":null}', b'[{"id":1}]', b"[null]", b"[[]]", b'{"taxes":null}', b'{"":{"":{"":0}}}'),
)
"""JSON values that something may stumble over."""

BROKEN: Final = (
    *(
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"01",
        b".5",
        b"1.",
        b"+1",
        b"-",
        b"tru",
        b"nul",
        b'"\\x41"',
        b'"a\nb"',
    ),
    *(b"\xff\xfe", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\x00", b"[" * 3000, b'{"a":' * 900, b"'x'", b'"'),
)
"""What is no JSON value."""

TOKENS: Final = (b"{", b"}", b"[", b"]", b",", b":", b'"', b'"id"', b'"type"', b"1", b" ", b"\\", *SPIKES)


def seeds() -> list[tuple[type[OcpiModel], bytes]]:
    """A valid body of every object of both versions, taken from the examples."""
    found: dict[type[OcpiModel], bytes] = {}
    for name, body in EXAMPLES.items():
        newer = parse_json(v2_3_0.OBJECTS[name], body)
        _collect(newer, found)
        older = downgrade(MODULE_OF[type(newer)], newer).value
        if older is not None:
            _collect(older, found)
    expected = {*v2_3_0.OBJECTS.values(), *v2_2_1.OBJECTS.values()}
    assert set(found) == expected, "an object has no example"
    return sorted(found.items(), key=lambda entry: (entry[0].__module__, entry[0].__name__))


def _collect(value: OcpiModel, found: dict[type[OcpiModel], bytes]) -> None:
    found.setdefault(type(value), dump(value))
    for name, shape in shapes(type(value)).items():
        inner = getattr(value, name)
        for item in inner if isinstance(inner, tuple) else (inner,):
            if shape.model and isinstance(item, OcpiModel):
                _collect(item, found)


MARK: Final = "@@"


def mutated(chance: random.Random, raw: bytes) -> bytes:
    """A body with one to three things broken, or one that is random from the start."""
    kind = chance.random()
    if kind < 0.05:
        return chance.randbytes(chance.randrange(200))
    if kind < 0.1:
        return b"".join(chance.choices(TOKENS, k=chance.randrange(1, 40)))
    rounds = chance.choice((1, 1, 1, 2, 3))
    if kind < 0.75:
        for _ in range(rounds):
            raw = _spiked(chance, raw)
    else:
        for _ in range(rounds):
            raw = chance.choice((_flip, _cut, _double, _insert))(chance, raw)
    return raw


def _spiked(chance: random.Random, raw: bytes) -> bytes:
    """One value of the body replaced, taken away, or added as an unknown field or another entry."""
    try:
        tree = decode(raw)
    except (NotJsonError, OcpiInvalidError):
        return _insert(chance, raw)
    places = list(_places(tree))
    if not places:
        return chance.choice(SPIKES)
    holder, key = chance.choice(places)
    if isinstance(holder, dict):
        if chance.random() < 0.15:
            del holder[str(key)]
            return dump(tree)
        holder["x" if chance.random() < 0.2 else str(key)] = MARK
    elif isinstance(holder, list) and isinstance(key, int):
        holder[key : key + chance.randrange(2)] = [MARK]
    spikes = BROKEN if chance.random() < 0.05 else SPIKES
    return dump(tree).replace(f'"{MARK}"'.encode(), chance.choice(spikes))


def _places(value: JSON) -> Iterator[tuple[JSON, str | int]]:
    """Every value in a tree, as what holds it and its key there."""
    if isinstance(value, dict):
        for name, item in value.items():
            yield value, name
            yield from _places(item)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield value, index
            yield from _places(item)


def _flip(chance: random.Random, raw: bytes) -> bytes:
    changed = bytearray(raw or b" ")
    changed[chance.randrange(len(changed))] = chance.randrange(256)
    return bytes(changed)


def _cut(chance: random.Random, raw: bytes) -> bytes:
    start, end = sorted((chance.randrange(len(raw) + 1), chance.randrange(len(raw) + 1)))
    return raw[:start] + raw[end:]


def _double(chance: random.Random, raw: bytes) -> bytes:
    start, end = sorted((chance.randrange(len(raw) + 1), chance.randrange(len(raw) + 1)))
    return raw[:end] + raw[start:end] + raw[end:]


def _insert(chance: random.Random, raw: bytes) -> bytes:
    at = chance.randrange(len(raw) + 1)
    return raw[:at] + chance.choice(BROKEN + SPIKES) + raw[at:]


def cases(seed: int) -> Iterator[tuple[type[OcpiModel], bytes]]:
    """Endless bodies, the same for the same seed."""
    chance = random.Random(seed)
    valid = seeds()
    while True:
        for model, raw in valid:
            yield model, mutated(chance, raw)


def outcome(model: type[OcpiModel], raw: bytes) -> tuple[str, float]:
    """(what came of a body, seconds that parse took). Raises what no body may cause."""
    begin = time.perf_counter()
    try:
        found = parse(model, raw)
    except NotJsonError:
        return "not JSON", time.perf_counter() - begin
    except OcpiInvalidError as error:
        spent = time.perf_counter() - begin
        assert error.message and str(error).isascii(), "an error without a clear message"
        return "OCPI 2001", spent
    spent = time.perf_counter() - begin
    assert parse(model, dump(found)) == found, "not the same after writing and reading"
    return "object", spent


def slow(model: type[OcpiModel], raw: bytes, spent: float) -> bool:
    """Whether a body takes more than 5 ms per KB (begun), also when it is repeated."""
    limit = MS_PER_KB / 1000 * max(1.0, len(raw) / 1024)
    return spent > limit and statistics.median(outcome(model, raw)[1] for _ in range(9)) > limit


def fuzz(count: int, seed: int) -> int:
    """The exit status of a run over `count` bodies."""
    outcomes: Counter[str] = Counter()
    failures, worst, size, begin = 0, 0.0, 0, time.perf_counter()
    for n, (model, raw) in enumerate(cases(seed)):
        if n >= count:
            break
        size += len(raw)
        try:
            kind, spent = outcome(model, raw)
            worst = max(worst, spent * 1000 / max(1.0, len(raw) / 1024))
            if slow(model, raw, spent):
                kind = "too slow"
        except Exception as error:
            kind = f"{type(error).__name__}: {error}"[:80]
        outcomes[kind] += 1
        if kind not in ("object", "not JSON", "OCPI 2001"):
            failures += 1
            if failures <= 10:
                print(f"{model.__module__}.{model.__name__}: {kind}: {raw[:400]!r}", file=sys.stderr)
    spent = time.perf_counter() - begin
    print(
        f"{count} bodies, {size / 1024:.0f} KB, seed {seed}, {spent:.1f} s; slowest single {worst:.2f} ms per KB"
    )
    for kind, times in outcomes.most_common():
        print(f"  {kind:<12} {times}")
    print("failed" if failures else "no exception of another kind, none above 5 ms per KB")
    return 1 if failures else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status of the command."""
    parser = argparse.ArgumentParser(prog="python -m bench.wire_ocpi", description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="time for each cell of the table")
    parser.add_argument("--fuzz", type=int, metavar="N", help="give N random and mutated bodies to parse")
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args(arguments)
    if chosen.fuzz is not None:
        return fuzz(chosen.fuzz, chosen.seed)
    measure(chosen.seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
