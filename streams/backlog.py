"""What waits in one partition: records in order, a bounded number of them in memory.

What enters: the batches that a member polls. What leaves: the same records, each once and in order. What is too much
is not kept: it is read from the log again once there is room, so that a partition that stands still holds up nobody.
What a member passes over is read from the log too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence

from streams.log import Log, LogUnavailable, Stored, TopicPartition

MOST = 10_000
READ_SECONDS = 1.0


class Backlog:
    """`offer` what was polled, `take` what is to be done next.

    `position` is where the member reads from. `went_back` is set where the log gave again what it had given already:
    it has lost its end, and was written anew.
    """

    def __init__(self, log: Log, place: TopicPartition, position: int, most: int = MOST) -> None:
        self._log = log
        self._place = place
        self._most = most
        self._queue: deque[Stored] = deque()
        self._offered = position
        self._missed = -1
        self._some = asyncio.Event()
        self.went_back = False

    def __len__(self) -> int:
        return len(self._queue)

    def offer(self, batch: Sequence[Stored]) -> None:
        """Take in a batch of the member; what does not fit is read again later."""
        if batch[0].offset < self._offered:
            # What waits here may not stand in the log any more.
            self.shortened()
        elif batch[0].offset > self._offered and self._missed < 0:
            self._missed = self._offered
        self._offered = batch[-1].offset + 1
        if self._missed < 0:
            room = max(0, self._most - len(self._queue))
            self._queue.extend(batch[:room])
            if room < len(batch):
                self._missed = batch[room].offset
        self.wake()

    def shortened(self) -> None:
        """The log holds less than was offered."""
        self.clear()
        self.went_back = True
        self.wake()

    def put_back(self, records: Sequence[Stored]) -> None:
        """These were taken and not done: they come first again."""
        self._queue.extendleft(reversed(records))
        self.wake()

    def read_again(self, offset: int) -> None:
        """What waits may not stand in the log any more: everything from here on is read from it again."""
        self._queue.clear()
        self._missed = offset if offset < self._offered else -1
        self.wake()

    def clear(self) -> None:
        """Forget everything; nothing is read again."""
        self._queue.clear()
        self._missed = -1

    def wake(self) -> None:
        """Let who waits look again."""
        self._some.set()

    async def wait(self) -> None:
        """Until there may be something, or somebody wakes us; fetches what was left out. Raises LogUnavailable."""
        await self._some.wait()
        if not self._queue and self._missed >= 0:
            await self._fetch()

    def take(self, most: int) -> list[Stored]:
        """The next records; none means to `wait` again."""
        taken = [self._queue.popleft() for _ in range(min(most, len(self._queue)))]
        if not self._queue and self._missed < 0:
            self._some.clear()
        return taken

    async def _fetch(self) -> None:
        """Read on from what was left out, as far as there is room or the member has come."""
        reader = self._log.reader()
        try:
            await reader.assign({self._place: self._missed})
            batch = (await reader.poll(READ_SECONDS, self._most)).get(self._place, ())
            ended = not batch and self._missed >= (await self._log.ends([self._place]))[self._place]
        finally:
            await reader.close()
        if ended:
            # The member had come further before the log lost its end.
            self._missed = -1
            return
        if not batch:
            raise LogUnavailable(
                f"{self._place.topic}[{self._place.partition}]@{self._missed} cannot be read again"
            )
        self._queue.extend(stored for stored in batch if stored.offset < self._offered)
        after = batch[-1].offset + 1
        self._missed = after if after < self._offered else -1
