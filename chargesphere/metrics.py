"""`/metrics`: what the engines count, as Prometheus gauges and histograms with bounded labels."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import REGISTRY, Collector

from chargesphere.backbone import Backbone, engine_numbers
from streams.following.follower import Follower
from streams.following.sink import Sink

QUANTILES = (0.5, 0.95, 0.99)


class Metrics(Collector):
    """Collects from one process's backbone; `close` when it ends."""

    def __init__(self, backbone: Backbone) -> None:
        self._backbone = backbone
        REGISTRY.register(self)

    def close(self) -> None:
        REGISTRY.unregister(self)

    def collect(self) -> Iterator[Metric]:
        engines = GaugeMetricFamily(
            "chargesphere_engine", "What an engine counts", labels=["engine", "count"]
        )
        for (engine, count), value in engine_numbers(self._backbone.engines).items():
            engines.add_metric([engine, count], value)
        yield engines
        delays = GaugeMetricFamily(
            "chargesphere_delay_seconds",
            "From the log to where an event went, over those of the last 15 seconds",
            labels=["to", "quantile"],
        )
        for name, values in self._delays().items():
            ordered = sorted(values)
            for quantile in QUANTILES:
                if ordered:
                    index = min(len(ordered) - 1, int(quantile * len(ordered)))
                    delays.add_metric([name, str(quantile)], ordered[index])
        yield delays
        yield from self._lag()

    def _lag(self) -> Iterator[Metric]:
        lag, labels = self._backbone.lag, ["area"]
        seconds = GaugeMetricFamily(
            "chargesphere_decider_lag_seconds", "How long the oldest undecided command waits", labels=labels
        )
        records = GaugeMetricFamily(
            "chargesphere_decider_lag_records", "How many commands are undecided", labels=labels
        )
        behind = GaugeMetricFamily(
            "chargesphere_read_models_behind_seconds",
            "Since the time up to which everything received can be read",
            labels=labels,
        )
        for area in lag.measured:
            seconds.add_metric([area.value], lag.behind_seconds(area))
            records.add_metric([area.value], lag.records(area))
            if (until := lag.projected_until(area)) is not None:
                behind.add_metric([area.value], (self._backbone.clock() - until).total_seconds())
        yield from (seconds, records, behind)

    def _delays(self) -> dict[str, list[float]]:
        out = {name: delays.recent() for name, delays in self._backbone.delays.items()}
        for name, engine in self._backbone.engines.items():
            sink = getattr(getattr(engine, "follower", engine), "sink", None)
            if isinstance(sink, Sink) and not isinstance(engine, Follower) and name not in out:
                out[name] = sink.delays.recent()
        return out
