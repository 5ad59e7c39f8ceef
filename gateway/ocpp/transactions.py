"""What one connection knows of its charge point's transactions: those that an answer of the log on it called open.

What enters: the log's answers on this connection, and what was appended since. What leaves: the register samples that
the next command of a transaction carries into the events, and from when on. It never guesses: what no answer of this
connection says is left to the charge point's aggregate.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from commands.charge_point import ConnectedReply, Started
from commands.charge_point.readings import CARRIED_EVERY_S, Running
from domain.charge_point import ReadingTaken
from domain.values import CallNumber, Carried


class Transactions:
    """`running` by number. `unread` are those of connections before, whose readings were not looked for yet."""

    __slots__ = ("_next", "clock_offset_s", "running", "unread")

    def __init__(self, connected: ConnectedReply) -> None:
        self._next = connected.next_transaction_id
        self.clock_offset_s = connected.clock_offset_s
        self.running = {
            one.transaction_id: Running(connector_id=one.connector_id, carried=one.carried)
            for one in connected.running
        }
        self.unread = {
            one.transaction_id: one.carried for one in connected.running if one.carried is not None
        }

    def found(self, number: int, readings: Sequence[tuple[int, ReadingTaken]]) -> None:
        """These readings of connections before were carried nowhere yet, as far as anybody knows."""
        running, until = self.running[number], self.unread.pop(number).until
        for offset, reading in readings:
            running.gathered.extend(reading.samples)
            running.carried = Carried(offset=offset, call=reading.call, until=until)

    def started(self, reply: Started, connector_id: int) -> None:
        """A start was answered. An answer that was given before, to the same start, says nothing of what is open; and
        what else runs on the connector may be over with it (START-7)."""
        self.clock_offset_s = reply.clock_offset_s
        if reply.transaction_id < self._next:
            return
        self._next = reply.transaction_id + 1
        self.doubt(connector_id)
        self.running[reply.transaction_id] = Running(connector_id=connector_id)

    def stopped(self, number: int) -> None:
        """Its stop was answered."""
        self.running.pop(number, None)

    def doubt(self, connector_id: int | None = None) -> None:
        """What was said may have changed what a reading means (None: of any of them): the next one is told."""
        for one in self.running.values():
            if connector_id in (None, one.connector_id):
                one.due_at = None

    def taken(self, number: int, reading: ReadingTaken, offset: int) -> None:
        """The reading stands beside the events."""
        running = self.running[number]
        assert running.carried is not None
        if offset <= running.carried.offset:
            running.due_at = None  # the topic has lost its end: the mark must be set anew
        running.gathered.extend(reading.samples)
        running.carried = Carried(offset=offset, call=reading.call, until=running.carried.until)

    def told(self, number: int, carried: Carried) -> None:
        """A command of it is durable, and carries what was gathered up to this mark."""
        running = self.running[number]
        running.gathered, running.carried, running.due_at = [], carried, carried.until


def mark(offset: int, call: CallNumber | None, at: datetime, relay_every: int) -> Carried:
    """The mark that a command received `at` sets: until then its readings stand beside the events."""
    return Carried(offset=offset, call=call, until=at + timedelta(seconds=min(relay_every, CARRIED_EVERY_S)))
