"""What the OCPP gateway counts. Labels are bounded: actions that a version knows, else `unknown`, and outcomes."""

from __future__ import annotations

from functools import cache

from prometheus_client import Counter, Gauge, Histogram

CONNECTIONS = Gauge("chargesphere_ocpp_connections", "Charge points connected to this process")
HANDSHAKES = Counter("chargesphere_ocpp_handshakes_total", "Handshakes by outcome", ["outcome"])
MESSAGES = Counter(
    "chargesphere_ocpp_messages_total", "Calls of charge points by outcome", ["action", "outcome"]
)
ANSWER_SECONDS = Histogram(
    "chargesphere_ocpp_answer_seconds",
    "From the last byte of a call to its answer",
    ["action"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5),
)
CALLS = Counter("chargesphere_ocpp_calls_total", "Calls to charge points by outcome", ["action", "outcome"])
FAULTS = Counter("chargesphere_ocpp_faults_total", "Malformed or ignored frames", ["fault"])
CLOSED = Counter("chargesphere_ocpp_closed_total", "Connections ended, by reason", ["reason"])
DROPPED = Counter("chargesphere_ocpp_downlinks_dropped_total", "Downlinks that were not sent", ["reason"])


def answered(action: str, outcome: str, seconds: float) -> None:
    """Count an answer; the label of the action is `Version.label`."""
    _messages(action, outcome).inc()
    _answer_seconds(action).observe(seconds)


@cache
def _messages(action: str, outcome: str) -> Counter:
    return MESSAGES.labels(action, outcome)


@cache
def _answer_seconds(action: str) -> Histogram:
    return ANSWER_SECONDS.labels(action)
