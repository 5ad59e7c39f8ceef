"""How fast a charge with 500 periods is priced: ``python -m bench.pricing [SECONDS]`` prints a table.

Each row runs for so many seconds (default 1) and shows the median of one call.
"""

from __future__ import annotations

import datetime as dt
import statistics
import sys
import time
from collections.abc import Callable

from domain.pricing import (
    Sample,
    Tariff,
    Usage,
    build_periods,
    check_cdr,
    explain,
    issue_cdr,
    price,
    tariff_from_json,
    to_json,
)

PERIODS = 500
START = dt.datetime(2024, 6, 3, 0, 0, tzinfo=dt.UTC)
ZONE = "Europe/Berlin"


def the_tariff() -> Tariff:
    """Energy and time in two bands of power, dearer by day, a fee and a limit."""
    energy = {"type": "ENERGY", "vat": 10, "step_size": 100}
    hour = {"type": "TIME", "vat": 20, "step_size": 60}
    return tariff_from_json(
        {
            "country_code": "DE",
            "party_id": "ABC",
            "id": "BENCH",
            "currency": "EUR",
            "tax_included": "NO",
            "max_price": {"before_taxes": 10_000, "after_taxes": 11_000},
            "elements": [
                {"price_components": [{"type": "FLAT", "price": 1, "vat": 20, "step_size": 1}]},
                {
                    "price_components": [energy | {"price": "0.35"}, hour | {"price": "1.5"}],
                    "restrictions": {"min_power": 16, "start_time": "08:00", "end_time": "20:00"},
                },
                {
                    "price_components": [energy | {"price": "0.30"}, hour | {"price": "1.2"}],
                    "restrictions": {"min_power": 16},
                },
                {"price_components": [energy | {"price": "0.25"}, hour | {"price": "1"}]},
            ],
            "last_updated": "2024-01-01T00:00:00Z",
        }
    )


def the_usage() -> Usage:
    """A sample a minute whose power goes up and down across the band, hence a period each."""
    minute = dt.timedelta(minutes=1)
    return Usage(
        start=START,
        end=START + PERIODS * minute,
        samples=tuple(
            Sample(START + index * minute, 300 * index, power_w=11_000 if index % 2 else 22_000)
            for index in range(PERIODS)
        ),
        meter_stop_wh=300 * PERIODS,
    )


def median_ms(call: Callable[[], object], seconds: float) -> float:
    """The median duration of a call in milliseconds."""
    durations: list[float] = []
    deadline = time.perf_counter() + seconds
    while not durations or time.perf_counter() < deadline:
        begun = time.perf_counter()
        call()
        durations.append(time.perf_counter() - begun)
    return statistics.median(durations) * 1000


def run(seconds: float = 1.0) -> dict[str, float]:
    """Milliseconds of each call, by its name."""
    tariff, usage = the_tariff(), the_usage()
    periods = build_periods(usage, tariff, ZONE)
    if len(periods) < PERIODS:
        raise SystemExit(f"the usage makes {len(periods)} periods, the bench wants {PERIODS}")
    cdr = to_json(issue_cdr(usage, tariff, ZONE))
    cost = price(periods, tariff, ZONE)
    calls: dict[str, Callable[[], object]] = {
        "build the periods": lambda: build_periods(usage, tariff, ZONE),
        "price the periods": lambda: price(periods, tariff, ZONE),
        "price the usage": lambda: price(usage, tariff, ZONE),
        "explain the cost": lambda: explain(cost),
        "issue the CDR as JSON": lambda: to_json(issue_cdr(usage, tariff, ZONE)),
        "check the CDR": lambda: check_cdr(cdr, ZONE),
    }
    return {name: median_ms(call, seconds) for name, call in calls.items()}


def main() -> None:
    """Print the table."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
    print(f"a charge with {PERIODS} periods, median of one call")
    for name, milliseconds in run(seconds).items():
        print(f"  {name:<24}{milliseconds:8.2f} ms")


if __name__ == "__main__":
    main()
