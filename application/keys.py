"""API keys and revoked tokens as the log has them now, in each process that lets callers in.

A key is read from the read store once, when it is first shown, and then kept as its events say: this process reads
the events of keys from where the read store stands. What it knows counts for `BOUND` seconds after it was last at the
log's end; then no key opens anything until it is there again.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from application.batched_reads import BatchedReads
from application.key_text import id_in
from application.ports import Digests
from application.principal import BadTokenError, Principal
from commands.base import Area, Meta
from domain.access import Grant
from domain.aggregate import Event, EventRegistry, kind_of
from domain.errors import ChargeSphereError
from domain.key import Key, KeyCreated, KeyRevoked, KeyRotated, key_aggregate_id
from domain.subject import Subject, SubjectTokensRevoked
from projections.key import USES, USES_DATABASE, evolve, key_id_of
from projections.moment import utc_text
from projections.store import (
    HUB,
    Document,
    Put,
    Query,
    ReadStore,
    StoreUnavailableError,
    every,
    gt,
    is_in,
    prefix,
)
from streams.following.facts import Fact, admitted
from streams.following.follower import standing
from streams.following.lag import Generations
from streams.following.parking import Parking
from streams.following.sink import is_behind_the_end
from streams.log import Log, LogShortenedError, LogUnavailableError, Position, Reader, TopicPartition
from streams.log.envelope import Fence, decode_events
from streams.log.topology import events_topic
from streams.projecting.projector import LETTERS

logger = logging.getLogger(__name__)

BOUND: Final = 10.0
"""Seconds after which a revoked key opens nothing at any process, whatever is away."""
LOOK_EVERY: Final = 1.0
"""Seconds between two looks at where the log ends."""
PATIENCE: Final = 2.0
"""Seconds that a caller waits for a process that is not at the log's end."""
AGAIN: Final = 0.5
"""Seconds until the log or the read store is tried again."""
USES_EVERY: Final = 60.0
"""Seconds between two notes of which keys were used."""
TOKENS_LIVE: Final = timedelta(hours=12, minutes=2)
"""No token is longer accepted, so that a revocation before that refuses nobody."""

_DIGEST: Final = "api_key"
_LETTER_OF_KEY: Final = f"{HUB}/keys/"
_LETTER_OF_SUBJECT: Final = f"{HUB}/subjects/"


def secret_digest(vault: Digests, text: str) -> str:
    """What is kept of a key: a keyed hash of 128 bits of its whole text."""
    return vault.digest(_DIGEST, text)


class LogKeys:
    """`run` and `note_uses` until cancelled. `group` is who writes the read models of keys."""

    def __init__(
        self,
        log: Log,
        store: ReadStore,
        generations: Generations,
        events: EventRegistry,
        group: str,
        vault: Digests,
        clock: Callable[[], datetime],
    ) -> None:
        self._log = log
        self._store = store
        self._generations = generations
        self._events = events
        self._group = group
        self._vault = vault
        self._clock = clock
        self._keys: dict[str, Document] = {}
        """Every key that was shown or made since the beginning, as its events say."""
        self._heard: dict[str, list[tuple[Event, Meta]]] = {}
        """What happened since to keys that nobody has shown here."""
        self._subjects: dict[tuple[str, str], datetime] = {}
        self._waiting: frozenset[str] = frozenset()
        """Aggregates that the projector had parked at the beginning."""
        self._shortened: frozenset[TopicPartition] = frozenset()
        """Of these the log holds less than the read models took in: all of them is read from the log."""
        self._versions: dict[str, int] = {}
        """Of each aggregate the newest event heard."""
        self._begun = 0
        self._known = False
        """Whether it was ever at the log's end."""
        self._generation = 0
        self._as_of: float | None = None
        """When the log held nothing that is not known here."""
        self._news = asyncio.Event()
        self._reading = BatchedReads(self._read)
        self._used: dict[str, datetime] = {}

    # -- who asks ------------------------------------------------------------------------------------------------

    async def of_key(self, text: str, address: str) -> Principal:
        """Raises BadTokenError; LogUnavailableError and StoreUnavailableError where it cannot be told."""
        key_id = id_in(text)
        if key_id is None:
            raise BadTokenError("the key is not valid here")
        document = await self._key(key_id)
        now = self._clock()
        digest = secret_digest(self._vault, text)
        if document is None or not _is_secret_of(document, digest, now):
            raise BadTokenError("the key is not valid here")
        if document["state"] != "active":
            raise BadTokenError("the key was revoked")
        grant = grant_of(document)
        if grant.expires_at is not None and grant.expires_at <= now:
            raise BadTokenError("the key has expired")
        if not grant.admits(address):
            raise BadTokenError("the key is not accepted from this address")
        self._used[key_id] = now
        tenant = document["tenant_id"]
        return Principal(subject=key_id, tenant=None if tenant is None else str(tenant), grant=grant)

    async def check_token(self, principal: Principal) -> None:
        """Raises BadTokenError where the subject's tokens of that time were revoked.

        What was heard last counts while the log is away: a token lives 12 hours at most. Before anything was heard:
        LogUnavailableError.
        """
        if not self._known:
            await self._be_current()
        before = self._subjects.get((principal.tenant or "", principal.subject))
        if before is not None and principal.issued_at is not None and principal.issued_at <= before:
            raise BadTokenError("the token was revoked")

    async def hear(self, aggregate_id: str, version: int, patience: float) -> None:
        """Wait until this process knows of an event, or for so many seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(patience):
                while self._versions.get(aggregate_id, 0) < version:
                    await self._news.wait()

    @property
    def has_begun(self) -> bool:
        """Whether tokens are judged here: it was at the log's end once. Keys need it to be there now."""
        return self._known

    @property
    def is_current(self) -> bool:
        """Whether this process was at the log's end within `BOUND` seconds."""
        return self._as_of is not None and asyncio.get_running_loop().time() - self._as_of <= BOUND

    async def _be_current(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE):
                while not self.is_current:
                    await self._news.wait()
        if not self.is_current:
            raise LogUnavailableError(f"whether a key was revoked is not known for more than {BOUND:g} s")

    async def _key(self, key_id: str) -> Document | None:
        """The key as it is at most `BOUND` seconds ago; nothing is awaited after that is known."""
        while True:
            await self._be_current()
            known = self._keys.get(key_id)
            if known is not None:
                return known
            begun = self._begun
            document = await self._reading.get(key_id)
            if self._generations.known.number != self._generation:
                self._as_of = None  # these read models may lack what those before had: `run` begins anew
            if begun != self._begun or not self.is_current or key_id in self._keys:
                continue  # what was heard meanwhile is newer than what was read
            for event, meta in self._heard.get(key_id, ()):
                document = _with(document, event, meta)
            if document is not None:
                self._keys[key_id] = document
                self._heard.pop(key_id, None)
            return document

    async def _read(self, ids: Sequence[str]) -> Mapping[str, Document]:
        """Without those that the projector could not take in, and those of which the log has lost an end: what they
        were is not what they are. Letters first: one that is gone by then has its document made anew."""
        query = Query(HUB, LETTERS, (is_in("document", [_LETTER_OF_KEY + id for id in ids]),), limit=500)
        letters = {str(letter["document"]) async for letter in every(self._store, query)}
        found = await self._store.get_many(HUB, "keys", ids)
        return {
            id: document
            for id, document in found.items()
            if _LETTER_OF_KEY + id not in letters
            and self._is_believed(key_aggregate_id(str(document["tenant_id"] or ""), id))
        }

    def _is_believed(self, aggregate_id: str) -> bool:
        place = TopicPartition(events_topic(Area.KEY), self._log.layout.partition_of(aggregate_id))
        return aggregate_id not in self._waiting and place not in self._shortened

    # -- what happens to keys ------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Begin anew where it cannot go on, as at a damaged record or one of a newer release; one line says why."""
        reader = self._log.reader()
        said = ""
        try:
            while True:
                try:
                    fences = await self._begin(reader)
                    await self._follow(reader, fences)
                    said = ""
                except LogShortenedError as error:
                    logger.warning("keys are read anew: %s", error)
                    self._shortened |= error.places
                except ChargeSphereError as error:
                    if str(error) != said:
                        logger.warning("no key is accepted: %s", error)
                    said = str(error)
                    await asyncio.sleep(AGAIN)
        finally:
            await reader.close()

    async def _begin(self, reader: Reader) -> dict[TopicPartition, Fence]:
        """From where the read models stand: what is before is in them, unless the log has lost its end."""
        places = self._log.places(events_topic(Area.KEY))
        generation = await self._generations.newest()
        if generation.number != self._generation:
            self._shortened = frozenset()
        positions = await self._log.committed(self._group, places)
        found = {place: standing(positions.get(place, Position(0)), place, generation) for place in places}
        ends = await self._log.ends(places)
        self._shortened |= {place for place, at in found.items() if is_behind_the_end(*at, ends[place])}
        found |= dict.fromkeys(self._shortened, (0, -1))
        # What is tried again leaves the parked ones once it is in a document or among the letters.
        parked = await Parking(self._log).of_group(self._group)
        subjects = await self._revoked_subjects()
        waiting = [one.aggregate for one in parked.values() if one.place in found]
        for aggregate in waiting:
            kind, tenant, subject = aggregate.split("|", 2)
            if kind == Subject.kind:
                subjects[tenant, subject] = self._clock()
        await reader.assign({place: offset for place, (offset, _) in found.items()})
        self._keys, self._heard, self._waiting = {}, {}, frozenset(waiting)
        for whom, before in subjects.items():
            self._refuse(whom, before)
        self._as_of = None
        self._generation = generation.number
        self._begun += 1
        return {place: Fence(epoch) for place, (_, epoch) in found.items()}

    async def _revoked_subjects(self) -> dict[tuple[str, str], datetime]:
        """As they are read; where the projector could not take one in, until now."""
        now = self._clock()
        found: dict[tuple[str, str], datetime] = {}
        query = Query(HUB, LETTERS, (prefix("document", _LETTER_OF_SUBJECT),), limit=500)
        async for letter in every(self._store, query):
            tenant, _, subject = str(letter["document"]).removeprefix(_LETTER_OF_SUBJECT).partition("|")
            found[tenant, subject] = now
        since = utc_text(now - TOKENS_LIVE)
        assert since is not None
        query = Query(HUB, "subjects", (gt("before", since),), limit=500)
        async for document in every(self._store, query):
            found.setdefault(
                (str(document["tenant_id"] or ""), str(document["subject"])), _time(document["before"])
            )
        return found

    async def _follow(self, reader: Reader, fences: dict[TopicPartition, Fence]) -> None:
        """Until other read models are read. An absent log is waited for; what was heard stays."""
        loop = asyncio.get_running_loop()
        ends: Mapping[TopicPartition, int] = {}
        looked = loop.time() - LOOK_EVERY
        away = False
        while self._generations.known.number == self._generation:
            try:
                if not ends and loop.time() >= looked + LOOK_EVERY:
                    looked = loop.time()
                    ends = await self._log.ends(list(fences))
                if ends and await _is_at(reader, ends):
                    self._as_of, self._known, ends, away = looked, True, {}, False
                    self._tell()
                batches = await reader.poll(LOOK_EVERY)
            except LogShortenedError:
                raise
            except LogUnavailableError as error:
                if not away:
                    logger.warning("keys: %s; after %g s none is accepted", error, BOUND)
                away = True
                await asyncio.sleep(AGAIN)
                # Reading goes on with the next poll, which an end that is told slowly must not put off for ever.
                looked, ends = loop.time(), {}
                continue
            for place, batch in batches.items():
                facts, halt = admitted(place, fences[place], batch)
                for fact in facts:
                    self._take(fact)
                if halt is not None:
                    raise halt
            if batches:
                self._tell()

    def _take(self, fact: Fact) -> None:
        meta = fact.decision.meta
        for event in decode_events(fact.decision, self._events):
            id = event.originator_id
            self._versions[id] = event.originator_version
            if isinstance(event, SubjectTokensRevoked):
                self._refuse((event.tenant, event.subject), event.before)
            elif kind_of(id) == Key.kind:
                key_id = key_id_of(id)
                known = self._keys.get(key_id)
                if known is None and not isinstance(event, KeyCreated):
                    self._heard.setdefault(key_id, []).append((event, meta))
                elif (now := _with(known, event, meta)) is not None:
                    self._keys[key_id] = now

    def _refuse(self, whom: tuple[str, str], before: datetime) -> None:
        """The latest moment counts: what is heard may be older than what was read."""
        self._subjects[whom] = max(before, self._subjects.get(whom, before))

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    # -- when they were used -------------------------------------------------------------------------------------

    async def note_uses(self) -> None:
        """Once a minute, which keys were used: what a process that is killed had not noted is not known."""
        while True:
            await asyncio.sleep(USES_EVERY)
            with contextlib.suppress(StoreUnavailableError):
                await self.flush_uses()

    async def flush_uses(self) -> None:
        """One write for each key that was used since. Raises StoreUnavailableError; then it is tried again."""
        used = {id: at.replace(second=0, microsecond=0) for id, at in self._used.items()}
        noted, self._used = self._used, {}
        try:
            await self._store.apply(
                [
                    Put(USES_DATABASE, USES, id, int(at.timestamp()) // 60, {"at": utc_text(at)})
                    for id, at in used.items()
                ]
            )
        except StoreUnavailableError:
            self._used = {**noted, **self._used}
            raise


def grant_of(document: Document) -> Grant:
    """What a key allows, as its document says."""
    scopes, addresses, expires_at = document["scopes"], document["addresses"], document["expires_at"]
    assert isinstance(scopes, list) and isinstance(addresses, list)
    return Grant(
        role=str(document["role"]),
        scopes=tuple(map(str, scopes)),
        addresses=tuple(map(str, addresses)),
        expires_at=None if expires_at is None else _time(expires_at),
    )


def _is_secret_of(document: Document, digest: str, now: datetime) -> bool:
    """In constant time: the secret that counts, or the one before while it still does."""
    if hmac.compare_digest(str(document["secret_digest"]), digest):
        return True
    until = document["previous_until"]
    before = str(document["previous_digest"] or "")
    return hmac.compare_digest(before, digest) and until is not None and now < _time(until)


def _with(document: Document | None, event: Event, meta: Meta) -> Document | None:
    """The key with one more event; one that it has already changes nothing."""
    version = document["version"] if document is not None else 0
    assert isinstance(version, int) and isinstance(event, KeyCreated | KeyRotated | KeyRevoked)
    if event.originator_version <= version:
        return document
    after = evolve(document, event, meta)
    return None if after is None else {**after, "version": event.originator_version}


async def _is_at(reader: Reader, ends: Mapping[TopicPartition, int]) -> bool:
    for place, end in ends.items():
        if await reader.position(place) < end:
            return False
    return True


def _time(text: object) -> datetime:
    return datetime.fromisoformat(str(text)).astimezone(UTC)
