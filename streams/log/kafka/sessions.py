"""Fetch sessions (KIP-227): a broker remembers what a consumer reads, and each fetch names only what has changed.

What enters: the whole of what is to be fetched, as aiokafka plans it, which knows no sessions. What leaves: a request
that says how it differs from the one before; its answer names only partitions that have something to say. Whatever is
in doubt (a fetch that failed, a broker that has forgotten) begins a session anew, with a request that names all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from aiokafka.protocol.fetch import FetchRequest

KNOWS_SESSIONS: Final = 7
"""The version of a fetch from which on there are sessions."""
LAST_EPOCH: Final = 2**31 - 1

_Partition = tuple[int, ...]
"""As in a request: its number first, then where from and how much."""


class Session:
    """What one broker knows of what one consumer fetches; epoch 0 is a request that names all and begins anew."""

    def __init__(self) -> None:
        self._id = 0
        self._epoch = 0
        self._known: Mapping[tuple[str, int], _Partition] = {}

    def fill(self, request: Any) -> None:
        """Let the request name only what has changed. It is written next, and counts as known from then on."""
        wanted = {
            (topic, partition[0]): partition
            for topic, partitions in request.topics
            for partition in partitions
        }
        if not self._id:
            self._epoch = 0
        request.session_id, request.session_epoch = self._id, self._epoch
        if self._epoch:
            changed = [place for place, partition in wanted.items() if self._known.get(place) != partition]
            request.topics = [
                (topic, [wanted[topic, number] for number in numbers])
                for topic, numbers in _by_topic(changed)
            ]
            request.forgotten_topics_data = _by_topic([place for place in self._known if place not in wanted])
        self._known = wanted
        self._epoch = self._epoch + 1 if self._epoch < LAST_EPOCH else 1

    def answered(self, response: Any) -> None:
        """What the broker says of the session, which it may have no room for, or have forgotten."""
        if response.API_VERSION < KNOWS_SESSIONS:
            return
        if response.error_code or not response.session_id:
            self.begin_anew()
        else:
            self._id = response.session_id

    def begin_anew(self) -> None:
        """Nobody knows what the broker knows."""
        self._id = self._epoch = 0
        self._known = {}


class SessionFetch:
    """In the place of a `FetchRequest`, whose partitions it has."""

    def __init__(self, whole: FetchRequest, session: Session) -> None:
        self._whole = whole
        self.session = session

    @property
    def topics(self) -> Sequence[Any]:
        """All that is fetched, whatever is named."""
        topics: Sequence[Any] = self._whole.topics
        return topics

    def prepare(self, versions: Mapping[int, tuple[int, int]]) -> Any:
        """What is written on the wire, just before it is."""
        request = self._whole.prepare(versions)
        if request.API_VERSION >= KNOWS_SESSIONS:
            self.session.fill(request)
        return request


def _by_topic(places: Sequence[tuple[str, int]]) -> list[tuple[str, list[int]]]:
    found: dict[str, list[int]] = {}
    for topic, number in places:
        found.setdefault(topic, []).append(number)
    return list(found.items())
