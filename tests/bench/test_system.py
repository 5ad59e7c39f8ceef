"""What the load run makes of its numbers."""

from __future__ import annotations

import argparse
from array import array

from bench import system
from bench.backend import parse_metrics
from bench.clients import CallOutcome
from bench.main import build_parser
from bench.tables import quantiles_ms

METRICS = """\
# HELP chargesphere_delay_seconds From the log to where an event went
chargesphere_delay_seconds{quantile="0.95",to="projector"} 0.0125
chargesphere_engine{count="stale",engine="sweeper"} 3.0
chargesphere_engine{count="stale",engine="sweeper"} NaN-ish
"""


def options(*words: str) -> argparse.Namespace:
    return build_parser().parse_args(words)


def test_quantiles_are_of_the_whole_and_the_last_is_the_worst() -> None:
    assert quantiles_ms([]) == {"count": 0}
    assert quantiles_ms([n / 1000 for n in range(1, 101)]) == {
        "count": 100,
        "p50": 51.0,
        "p95": 96.0,
        "p99": 100.0,
        "max": 100.0,
    }


def test_answer_times_of_all_clients_are_one_distribution() -> None:
    one = CallOutcome({"Heartbeat": array("d", [0.001, 0.002]).tobytes()}, 3, 2, {"lost": 1}, 0, 0.001)
    two = CallOutcome({"Heartbeat": array("d", [0.4]).tobytes()}, 1, 1, {"lost": 2}, 1, 0.004)

    found = system.summary([one, two], 2.0)

    assert found["sent"] == 4 and found["answered"] == 3 and found["reached"] == 90
    assert found["errors"] == {"lost": 3} and found["unanswered"] == 1 and found["client_lag_ms"] == 4.0
    assert found["answer_ms"]["all"] == {"count": 3, "p50": 2.0, "p95": 400.0, "p99": 400.0, "max": 400.0}


def test_delays_and_counts_are_read_from_the_metrics_whatever_the_order_of_labels() -> None:
    metrics = {"projector-1": parse_metrics(METRICS), "gateway-1": {}}

    assert system.delays(metrics) == {"projector": {"p95": 12.5}}
    assert system.counts(metrics) == {"sweeper.stale": 3.0}


def test_a_step_is_one_line() -> None:
    one = CallOutcome({"Heartbeat": array("d", [0.001, 0.0025]).tobytes()}, 2, 2, {}, 0, 0.0)
    step = {"rate": 120, "cpu_percent": 61.7, **system.summary([one], 1.0)}

    assert system.line(step) == (
        "120 a minute (120 wanted): p50 2.5, p95 2.5, p99 2.5, max 2.5 ms; CPU of all processes 62 % of a core"
    )


def test_every_charge_point_belongs_to_one_client() -> None:
    found = system.shares(options("--points", "10", "--clients", "3"), ["ws://127.0.0.1:1"], ("T",))

    numbers = [n for share in found for n in range(share.first, share.first + share.count)]
    assert numbers == list(range(10))


def test_the_knee_is_looked_for_from_the_given_rate_up() -> None:
    assert list(system.rates(options("--rate", "1000"))) == [1000.0]
    assert list(system.rates(options("--rate", "1000", "--knee", "--knee-step", "2")))[:3] == [
        1000.0,
        2000.0,
        4000.0,
    ]
