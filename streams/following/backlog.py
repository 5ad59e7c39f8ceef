"""What waits in one partition: records in order, a bounded number of them in memory.

What enters: the batches that a member polls. What leaves: the same records, each once and in order. What is too much
is not kept: it is read from the log again once there is room, so that a partition that stands still holds up nobody.
What a member passes over is read from the log too.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from streams.log import Log, LogUnavailableError, Stored, TopicPartition

MOST = 10_000
READ_SECONDS = 1.0

ReadAgain = Callable[[TopicPartition, int], Awaitable[Sequence[Stored]]]


class Backlog:
    """`offer` what was polled, `take` what is to be done next.

    `position` is where the member reads from. `again` reads what was left out, from an offset on; by itself a reader
    of this partition does. At most `most` records wait, and at most `share` are taken of what is read again.
    `went_back` is set where the log gave again what it had given already: it has lost its end, and was written anew.
    """

    def __init__(
        self,
        log: Log,
        place: TopicPartition,
        position: int,
        most: int = MOST,
        *,
        again: ReadAgain | None = None,
        share: int | None = None,
    ) -> None:
        self._log = log
        self._place = place
        self._most = most
        self._again = again or self._read
        self._share = most if share is None else share
        self._queue: deque[Stored] = deque()
        self._offered = position
        self._missed = -1
        self._some = asyncio.Event()
        self.went_back = False

    def __len__(self) -> int:
        return len(self._queue)

    @property
    def behind(self) -> bool:
        """Whether something was left out that is to be read again."""
        return self._missed >= 0

    def offer(self, batch: Sequence[Stored], *, wake: bool = True) -> None:
        """Take in a batch of the member; what does not fit is read again later. Without `wake` it may wait."""
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
        if wake:
            self.wake()

    def let_go(self) -> None:
        """Make room: the newer half of what waits is read again later."""
        for _ in range((len(self._queue) + 1) // 2):
            self._missed = self._queue.pop().offset

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
        """Until there may be something, or somebody wakes us; fetches what was left out. Raises
        LogUnavailableError."""
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
        batch = await self._again(self._place, self._missed)
        if not batch:
            # The member had come further before the log lost its end.
            self._missed = -1
            return
        after = batch[-1].offset + 1
        if len(batch) > self._share:
            batch, after = batch[: self._share], batch[self._share].offset
        self._queue.extend(stored for stored in batch if stored.offset < self._offered)
        self._missed = after if after < self._offered else -1

    async def _read(self, place: TopicPartition, offset: int) -> Sequence[Stored]:
        """The next records; none where the log ends before."""
        reader = self._log.reader()
        try:
            await reader.assign({place: offset})
            batch = (await reader.poll(READ_SECONDS, self._most)).get(place, ())
            if not batch and offset < (await self._log.ends([place]))[place]:
                raise LogUnavailableError(f"{place.topic}[{place.partition}]@{offset} cannot be read again")
        finally:
            await reader.close()
        return batch
