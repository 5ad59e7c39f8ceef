"""The network between the processes and the servers, and the processes' clocks: who reaches whom, how fast, how
surely.

What enters: questions from the adapters. What leaves: delays and fates that the seed chooses. Nemeses change its
weather; `calm` is the weather of a good day.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Final

from tests.simulation.loop import Node, SimLoop

DAY: Final = datetime(2026, 3, 1, 12, tzinfo=UTC).timestamp()
"""The wall clock when the world begins."""


class Fate(Enum):
    """What becomes of a request to a server."""

    DONE = "done"
    REFUSED = "refused"
    UNANSWERED = "unanswered"
    """It happens, and nobody is told."""
    LATE = "late"
    """It happens some seconds after the caller has given it up."""


@dataclass(slots=True)
class Weather:
    """How often what goes wrong. `slow` is the share of requests that take up to `slowest` seconds."""

    refused: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    slow: float = 0.0
    slowest: float = 1.0


CALM: Final = Weather()


@dataclass(slots=True)
class Network:
    """One world's network."""

    loop: SimLoop
    weather: dict[str, Weather] = field(default_factory=dict)
    down: set[str] = field(default_factory=set)
    """Servers that answer nobody."""
    stalled: set[str] = field(default_factory=set)
    """Processes that get nothing from the log's topics, though the log answers them."""
    whole: float = 0.7
    """How often a fetch brings all that there is; else it brings one to three records."""
    cut: set[tuple[str, str]] = field(default_factory=set)
    """Pairs of a process's and a server's name between which nothing passes."""

    def reaches(self, node: Node, service: str) -> bool:
        """Whether a packet passes between them now."""
        return service not in self.down and (node.name, service) not in self.cut

    def delay(self, service: str) -> float:
        """Seconds that one way takes."""
        chance = self.loop.chance.random()
        weather = self.weather.get(service, CALM)
        if chance < weather.slow:
            return weather.slowest * self.loop.chance.random()
        return 0.0005 + 0.004 * chance * chance

    def fate(self, service: str) -> Fate:
        """What becomes of one request that arrived."""
        weather = self.weather.get(service)
        if weather is None:
            return Fate.DONE
        draw = self.loop.chance.random()
        if draw < weather.refused:
            return Fate.REFUSED
        if draw < weather.refused + weather.unanswered:
            return Fate.UNANSWERED
        if draw < weather.refused + weather.unanswered + weather.late:
            return Fate.LATE
        return Fate.DONE

    def wall(self, node: Node) -> float:
        """The clock of this process, in seconds since 1970; wrong by its skew."""
        return DAY + self.loop.now + node.skew

    def wall_time(self, node: Node) -> datetime:
        return datetime.fromtimestamp(self.wall(node), UTC)
