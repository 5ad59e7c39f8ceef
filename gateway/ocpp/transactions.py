"""What one connection knows of its charge point's transactions: what answers of the log on it have said.

What enters: the log's answers on this connection, and what was appended since. What leaves: the register samples that
the next command of a transaction carries into the events, and from when on. It never guesses: what no answer of this
connection says is left to the charge point's aggregate.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from commands.charge_point import ConnectedReply, StartReply, TakenOver
from commands.charge_point.readings import CARRIED_EVERY_S, Running
from domain.charge_point import ReadingTaken
from domain.values import CallNumber, Carried


class Transactions:
    """`known` by number, None where there is nothing to know; `taking` are being asked for. The next one that begins
    gets the number `next`, or a later one."""

    __slots__ = ("clock_offset_s", "known", "next", "taking")

    def __init__(self, connected: ConnectedReply) -> None:
        self.next = connected.next_transaction_id
        self.clock_offset_s = connected.clock_offset_s
        self.known: dict[int, Running | None] = {}
        self.taking: dict[int, asyncio.Task[None]] = {}

    def is_older(self, number: int) -> bool:
        """Whether it began on a connection before, and nothing is known of it yet."""
        return 0 < number < self.next and number not in self.known

    def take(self, number: int, taking: asyncio.Task[None]) -> None:
        """It is being asked for, until this ends."""
        self.taking[number] = taking
        taking.add_done_callback(partial(self._asked, number))

    def _asked(self, number: int, taking: asyncio.Task[None]) -> None:
        del self.taking[number]
        if not taking.cancelled():
            taking.exception()  # whoever still waits raises it

    def taken_over(self, number: int, reply: TakenOver, found: Sequence[tuple[int, ReadingTaken]]) -> None:
        """It began on a connection before; these readings were carried nowhere yet, as far as anybody knows."""
        if not reply.running and reply.carried is None:
            self.known[number] = None
            return
        running = Running(connector_id=reply.connector_id, open=reply.running, carried=reply.carried)
        for offset, reading in found:
            running.add(offset, reading)
        self.known[number] = running

    def started(self, reply: StartReply, connector_id: int) -> None:
        """A start was answered. An answer that was given before, to the same start, says nothing of what is open; and
        what else runs on the connector may be over with it (START-7)."""
        self.clock_offset_s = reply.clock_offset_s
        if reply.transaction_id < self.next:
            return
        self.next = reply.transaction_id + 1
        for one in self.known.values():
            if one is not None and one.connector_id == connector_id:
                one.open = False
        self.known[reply.transaction_id] = Running(connector_id=connector_id)

    def stopped(self, number: int) -> None:
        """Its stop was answered."""
        self.known[number] = None

    def doubt(self) -> None:
        """What was said may have changed what a reading means: the next one of each is told."""
        for one in self.known.values():
            if one is not None:
                one.due_at = None


def mark(offset: int, call: CallNumber | None, at: datetime, relay_every: int) -> Carried:
    """The mark that a command received `at` sets: until then its readings stand beside the events."""
    return Carried(offset=offset, call=call, until=at + timedelta(seconds=min(relay_every, CARRIED_EVERY_S)))
