"""Reads again what a sink had no room for: one reader for all its partitions, open while some of them are behind.

What enters: the places at which lanes have come to what they let go of. What leaves: for each its next records. Lanes
that ask while a reading is under way share the next one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from streams.log import Log, LogDamagedError, LogUnavailableError, Reader, Stored, TopicPartition

IDLE_SECONDS = 5.0
"""After so long without a question the reader is closed."""
READ_SECONDS = 1.0
POLLED = 2000

Answer = asyncio.Future[Sequence[Stored]]
Question = tuple[int, Answer]


class Behind:
    """`read` what a lane wants next. At most one question of a place at a time."""

    def __init__(self, log: Log) -> None:
        self._log = log
        self._asked: dict[TopicPartition, Question] = {}
        self._some = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def read(self, place: TopicPartition, offset: int) -> Sequence[Stored]:
        """The records from this offset on, some of them; none where the log ends before. Raises LogError."""
        answer: Answer = asyncio.get_running_loop().create_future()
        question = (offset, answer)
        self._asked[place] = question
        self._some.set()
        if self._task is None:
            self._task = asyncio.create_task(self._serve())
        try:
            return await answer
        finally:
            if self._asked.get(place) is question:
                del self._asked[place]

    def tasks(self) -> list[asyncio.Task[None]]:
        """All that is at work here; to be cancelled where nobody asks any more."""
        return [] if self._task is None else [self._task]

    async def _serve(self) -> None:
        reader = self._log.reader()
        try:
            while await self._anybody_asks():
                await self._round(reader)
        except Exception as error:
            self._fail(error)
        finally:
            self._task = None
            self._fail(LogUnavailableError("the reading was broken off"))
            await reader.close()

    async def _anybody_asks(self) -> bool:
        self._some.clear()
        if self._asked:
            return True
        try:
            async with asyncio.timeout(IDLE_SECONDS):
                await self._some.wait()
        except TimeoutError:
            return bool(self._asked)
        return True

    async def _round(self, reader: Reader) -> None:
        """Answer whoever asks now."""
        asked = dict(self._asked)
        await reader.assign({place: offset for place, (offset, _) in asked.items()})
        ends = await self._log.ends(list(asked))
        while asked:
            try:
                polled = await reader.poll(READ_SECONDS, POLLED)
            except LogDamagedError as error:
                if error.place not in asked:
                    raise
                self._answer(error.place, asked.pop(error.place), error)
                continue
            for place, (offset, _) in list(asked.items()):
                batch = polled.get(place, ())
                left = not batch and offset < ends[place]
                if left and (polled or await reader.position(place) < ends[place]):
                    continue  # its turn comes
                self._answer(place, asked.pop(place), batch)
            if not polled and asked:
                place, (offset, _) = next(iter(asked.items()))
                raise LogUnavailableError(f"{place.topic}[{place.partition}]@{offset} cannot be read again")

    def _answer(self, place: TopicPartition, question: Question, found: Sequence[Stored] | Exception) -> None:
        """Unless nobody waits for it any more."""
        if self._asked.get(place) is not question:
            return
        del self._asked[place]
        answer = question[1]
        if answer.done():
            return
        if isinstance(found, Exception):
            answer.set_exception(found)
        else:
            answer.set_result(found)

    def _fail(self, error: Exception) -> None:
        for place, question in list(self._asked.items()):
            self._answer(place, question, error)
