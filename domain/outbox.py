"""What is still to be told of one partition's facts, and when: the memory of who holds it.

What enters: facts that a partner is owed, what became of sends, and the account that the log keeps. What leaves: the
objects whose time has come, and what is to be reported. An object that was tried in vain is named in the account, so
that the position may pass it; one that only waits for its spacing holds the position. A partner with too many objects
waiting is behind from its oldest one on: no more of it is kept in memory, and its facts are walked once it answers.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final, NamedTuple

import msgspec

from domain.delivery import FIRST_WAIT, GIVE_UP_AFTER, wait_before
from domain.owed import Owed
from domain.pushes import Asked, Mark, Named, OwedCdr, Waiting
from domain.values import PartyId

MOST_NAMED: Final = 100
"""Objects of one partner that the account of a partition names and that are tried again; beyond, it is behind."""
MOST_NAMED_IN_ALL: Final = 400
MOST_GIVEN_UP: Final = 100
"""Objects that wait for a person's word; of more, the oldest do not any more."""
MOST_KEPT: Final = 1_000
"""Objects of one partner that wait in memory for their first try."""
WALKED_AT_ONCE: Final = 50
"""Objects of a partner that is behind which wait at a time."""
AWAY_AGAIN: Final = timedelta(seconds=5)

Key = tuple[str, str]
"""To whom, and which object."""


class Told(NamedTuple):
    """Up to which version a partner was told of an object, and when last."""

    version: int
    at: datetime


class _Fact(NamedTuple):
    """A fact of which the log's account does not know yet."""

    version: int
    mark: Mark


@dataclass(slots=True, eq=False)
class Push:
    """One object on its way to one partner; `due` is None once it is given up."""

    to: PartyId
    object_id: str
    tenant: str
    version: int
    since: Mark
    due: datetime | None
    urgent_version: int = 0
    trying: int = 0
    """The version that was owed when its last try began."""
    attempts: int = 0
    first_tried_at: datetime | None = None
    outcome: str = ""
    reason: str = ""
    given_up: bool = False
    cdrs: tuple[OwedCdr, ...] = ()
    correlation_id: str = ""
    facts: list[_Fact] = field(default_factory=list)
    key: Key = field(init=False)

    def __post_init__(self) -> None:
        self.key = str(self.to), self.object_id

    def as_waiting(self) -> Waiting:
        """As the account names it."""
        return Waiting(
            to=self.to,
            object_id=self.object_id,
            tenant=self.tenant,
            version=self.version,
            since=self.since,
            attempts=self.attempts,
            first_tried_at=self.first_tried_at,
            due=self.due,
            outcome=self.outcome,
            reason=self.reason,
            given_up=self.given_up,
            urgent=self.urgent_version >= self.version > 0,
            cdrs=self.cdrs,
            correlation_id=self.correlation_id,
        )


@dataclass(frozen=True, slots=True)
class News:
    """What the account of the log does not say yet."""

    through: int
    waiting: tuple[Waiting, ...] = ()
    told: tuple[Named, ...] = ()
    behind: Mapping[str, Mark] = field(default_factory=dict)
    caught_up: tuple[str, ...] = ()
    heard: int = 0
    """Up to which version of the account what was asked for is among what waits."""
    heard_more: bool = False

    @property
    def matters(self) -> bool:
        """Whether it says more than how far everything is told."""
        return bool(self.waiting or self.told or self.behind or self.caught_up or self.heard_more)


class Outbox:
    """`begun_at`: before it, who knows when an object was told last, but for what `told` says. `spacing` is the
    module's."""

    def __init__(
        self, begun_at: datetime, spacing: timedelta, told: Mapping[Key, Told] | None = None
    ) -> None:
        self._begun_at = begun_at
        self._spacing = spacing
        self._pushes: dict[Key, Push] = {}
        self._sent: dict[Key, Told] = dict(told or {})
        self._sending: set[Key] = set()
        self._unsure: dict[Key, datetime] = {}
        """Until when a try whose outcome nobody knows may still arrive."""
        self._heard = self._heard_reported = 0
        self._count: Counter[str] = Counter()
        self._away: set[str] = set()
        self.behind: dict[str, Mark] = {}
        self.falls: Counter[str] = Counter()
        """How often a partner fell behind: who walks its facts begins anew then."""
        self.at = Mark(offset=0)
        """Everything before it was handed over."""
        self._told_before = 0
        self._named: dict[Key, Waiting] = {}
        self._named_behind: dict[str, Mark] = {}
        self._doubtful: dict[Key, Waiting] = {}
        """Of a report that was not answered: the account may name them, or not."""
        self._doubtful_behind: set[str] = set()
        self._has_told = False

    def take_up(
        self, through: int, waiting: Sequence[Waiting], behind: Mapping[str, Mark], now: datetime
    ) -> None:
        """Go on from the account. What was urgent when its holder ended is tried at once."""
        self._told_before = through
        self.behind, self._named_behind = dict(behind), dict(behind)
        self._take_up(waiting, now)

    def take_up_again(self, waiting: Sequence[Waiting], behind: Mapping[str, Mark], now: datetime) -> None:
        """Somebody else had it meanwhile: what waits here waits on, and what the account names too."""
        self._named, self._named_behind = {}, dict(behind)
        self._doubtful, self._doubtful_behind = {}, set()
        for to, mark in behind.items():
            if to not in self.behind:
                self.behind[to] = mark
                self._fall_behind(to)
        self._take_up(waiting, now)

    def _take_up(self, waiting: Sequence[Waiting], now: datetime) -> None:
        """What was given up by somebody who ended before its CDRs were let go is tried once more: then they go."""
        for one in waiting:
            self._named[one.key] = one
            if one.key in self._pushes:
                continue
            given_up = one.given_up and not one.cdrs
            push = Push(
                to=one.to,
                object_id=one.object_id,
                tenant=one.tenant,
                version=one.version,
                since=one.since,
                due=None if given_up else (one.due or now),
                urgent_version=one.version if one.urgent else 0,
                attempts=one.attempts,
                first_tried_at=one.first_tried_at,
                outcome=one.outcome,
                reason=one.reason,
                given_up=given_up,
                cdrs=one.cdrs,
                correlation_id=one.correlation_id,
            )
            self._keep(push)

    # -- what is owed ---------------------------------------------------------------------------------------------

    def is_new(self, mark: Mark, *, after_all: bool = False) -> bool:
        """Whether a fact was not told before we held the partition."""
        return after_all or mark.offset >= self._told_before

    def concerns(self, owed: Owed, object_id: str, mark: Mark, *, after_all: bool = False) -> bool:
        """Whether that is new: neither told before we held the partition, nor of a partner that is behind."""
        to = str(owed.to)
        if (to, object_id) in self._pushes:
            return True
        if to in self.behind and mark.offset >= self.behind[to].offset:
            return False
        return self.is_new(mark, after_all=after_all)

    def owe(
        self,
        owed: Owed,
        object_id: str,
        mark: Mark,
        now: datetime,
        *,
        tenant: str = "",
        correlation_id: str = "",
        walked: bool = False,
        after_all: bool = False,
    ) -> tuple[OwedCdr, ...]:
        """A partner is owed an object as it is at this version, or newer. The CDRs whose session was told already.

        `walked`: of a partner that is behind. `after_all`: though it stands before what is told, as its aggregate was
        parked.
        """
        to = str(owed.to)
        key = to, object_id
        push = self._pushes.get(key)
        if push is not None and owed.version <= push.version:
            return ()
        if push is None:
            if not walked and not self.concerns(owed, object_id, mark, after_all=after_all):
                return ()
            sent = self._sent.get(key)
            if sent is not None and owed.version <= sent.version:
                return owed.cdrs
            push = Push(
                to=owed.to,
                object_id=object_id,
                tenant=tenant,
                version=owed.version,
                since=mark,
                due=self._earliest(key, owed.urgent, now),
                correlation_id=correlation_id,
            )
            self._keep(push)
        push.version = max(push.version, owed.version)
        if not walked:
            push.facts.append(_Fact(owed.version, mark))
        if owed.urgent:
            push.urgent_version = max(push.urgent_version, owed.version)
            if push.attempts == 0:
                push.due = self._earliest(key, True, now)
        if push.given_up:
            self._begin_anew(push, now)
        known = {cdr.id for cdr in push.cdrs}
        push.cdrs += tuple(cdr for cdr in owed.cdrs if cdr.id not in known)
        if not walked:
            self._bound(to)
        return ()

    def _earliest(self, key: Key, urgent: bool, now: datetime) -> datetime:
        """Never while an earlier try may still arrive."""
        now = max(now, self._unsure.get(key, now))
        if urgent:
            return now
        sent = self._sent.get(key)
        return max(now, (sent.at if sent is not None else self._begun_at) + self._spacing)

    def retry(self, asked: Sequence[Asked], now: datetime) -> None:
        """Somebody wants these tried again now; each is said until it is reported that it was heard."""
        before, self._heard = self._heard, max([self._heard, *(one.version for one in asked)])
        for named in asked:
            if named.version <= before:
                continue
            key = str(named.to), named.object_id
            push = self._pushes.get(key)
            if push is None:
                push = Push(
                    to=named.to, object_id=named.object_id, tenant="", version=0, since=self.at, due=now
                )
                self._keep(push)
            self._named.setdefault(key, msgspec.structs.replace(push.as_waiting(), version=-1))
            self._begin_anew(push, now)

    def _begin_anew(self, push: Push, now: datetime) -> None:
        push.given_up, push.attempts, push.first_tried_at = False, 0, None
        push.due = self._earliest(push.key, True, now)

    def _keep(self, push: Push) -> None:
        self._pushes[push.key] = push
        self._count[push.key[0]] += 1

    def _let_go(self, push: Push) -> None:
        del self._pushes[push.key]
        self._count[push.key[0]] -= 1

    # -- what is sent -----------------------------------------------------------------------------------------------

    def due(self, now: datetime) -> list[Push]:
        """What may be sent now, what has waited longest first."""
        found = [
            (push.due, push.key, push) for push in self._to_send() if push.due is not None and push.due <= now
        ]
        return [push for _, _, push in sorted(found, key=lambda one: one[:2])]

    def next_due(self, now: datetime) -> datetime | None:
        """When the next one is to be sent that may not be sent now."""
        return min(
            (push.due for push in self._to_send() if push.due is not None and push.due > now), default=None
        )

    def _to_send(self) -> Iterator[Push]:
        return (
            push
            for key, push in self._pushes.items()
            if push.due is not None and key not in self._sending and key[0] not in self._away
        )

    def begin(self, push: Push) -> None:
        """It is being sent: nothing newer of this object is, before that has ended."""
        self._sending.add(push.key)
        push.trying = push.version

    def postpone(self, push: Push, due: datetime) -> None:
        """It was not tried."""
        self._sending.discard(push.key)
        push.due = due

    def sent(self, push: Push, version: int, now: datetime) -> None:
        """The partner has it as it was at this version."""
        key = push.key
        self._sending.discard(key)
        self._unsure.pop(key, None)
        before = self._sent[key].version if key in self._sent else 0
        self._sent[key] = Told(max(before, version), now)
        self._has_told = True
        if self._pushes.get(key) is not push:
            return
        push.attempts, push.first_tried_at, push.outcome, push.reason = 0, None, "", ""
        push.cdrs = tuple(cdr for cdr in push.cdrs if cdr.version > version)
        push.facts = [fact for fact in push.facts if fact.version > version]
        if push.version <= version:
            self._let_go(push)
            return
        if push.facts:
            push.since = push.facts[0].mark
        push.due = now if push.urgent_version > version else now + self._spacing

    def failed(
        self,
        push: Push,
        outcome: str,
        reason: str,
        now: datetime,
        retry_after: timedelta = timedelta(),
        *,
        for_good: bool = False,
    ) -> bool:
        """It was tried in vain: it is due again 5 s later, doubling to 15 min. Whether it is given up: after 24 h, or
        at once where it is `for_good`, if nothing newer has come meanwhile."""
        self._sending.discard(push.key)
        self._unsure[push.key] = now + FIRST_WAIT
        if self._pushes.get(push.key) is not push:
            return False
        push.attempts += 1
        push.first_tried_at = push.first_tried_at or now
        push.outcome, push.reason = outcome, reason
        due = now + max(wait_before(push.attempts + 1), retry_after)
        push.given_up = for_good or due > push.first_tried_at + GIVE_UP_AFTER
        push.due = None if push.given_up else due
        if push.given_up and push.version > push.trying:
            self._begin_anew(push, now)
        self._bound(push.key[0])
        given_up = [one for one in self._pushes.values() if one.given_up]
        if len(given_up) > MOST_GIVEN_UP:
            self._let_go(min(given_up, key=lambda one: one.since.offset))
        return push.given_up

    def released(self, push: Push, version: int) -> None:
        """The CDRs up to this version are on their own way."""
        push.cdrs = tuple(cdr for cdr in push.cdrs if cdr.version > version)

    def just_told(self, now: datetime) -> dict[Key, Told]:
        """What was told so lately that its next version waits: whoever goes on here must know, though a report of it
        may not have reached the account."""
        return {key: told for key, told in self._sent.items() if told.at + self._spacing > now}

    def forget(self, to: str, object_id: str) -> None:
        """It is over and told: when it was told last is of no interest any more."""
        if (to, object_id) not in self._pushes and to not in self.behind:
            self._sent.pop((to, object_id), None)

    # -- partners that are away, or behind ----------------------------------------------------------------------

    def offline(self, to: str) -> None:
        """It is not connected: it is sent nothing."""
        self._away.add(to)
        if to in self.behind:
            self._fall_behind(to)
        for push in self._of(to):
            if not push.attempts:
                push.outcome, push.reason = "offline", f"{to} is not connected"
        self._bound(to)

    def back(self, to: str, now: datetime) -> None:
        """It is connected again: what waited for that is tried now, but for what was told just before it went."""
        self._away.discard(to)
        for push in self._of(to):
            if push.outcome == "offline" and not push.given_up:
                at_once = push.urgent_version >= push.version or push.key not in self._sent
                push.due = self._earliest(push.key, at_once, now)

    @property
    def away(self) -> frozenset[str]:
        """Partners that are sent nothing."""
        return frozenset(self._away)

    def room(self, to: str) -> int:
        """How many objects more may be walked; what was given up takes none of it."""
        return WALKED_AT_ONCE - sum(not push.given_up for push in self._of(to))

    def walked(self, to: str, mark: Mark) -> None:
        """All its facts before this mark are among what waits, or told."""
        waiting = [push.since for push in self._of(to) if push.key not in self._named]
        self.behind[to] = min([mark, *waiting], key=lambda one: one.offset)

    def caught_up(self, to: str, running: Container[str] = ()) -> None:
        """It is not behind any more: what waits of it holds the position as that of others does. Of objects that are
        not `running` nobody asks any more when they were told last."""
        for push in self._of(to):
            if push.key not in self._named and not push.facts:
                push.facts.append(_Fact(push.version, push.since))
        del self.behind[to]
        for key in [key for key in self._sent if key[0] == to and key[1] not in running]:
            self.forget(*key)

    def _of(self, to: str) -> Iterator[Push]:
        return (push for push in self._pushes.values() if push.key[0] == to)

    def _bound(self, to: str) -> None:
        """Let those be behind of whom there is too much."""
        count = self._count[to]
        much = count > MOST_NAMED and sum(map(self._is_tried_again, self._of(to))) > MOST_NAMED
        if to not in self.behind and (much or count > MOST_KEPT):
            self._fall_behind(to)
        if len(self._pushes) > MOST_NAMED_IN_ALL:
            named = Counter(key[0] for key, push in self._pushes.items() if self._is_tried_again(push))
            if named.total() > MOST_NAMED_IN_ALL:
                self._fall_behind(max(named, key=lambda name: (named[name], name)))

    def _fall_behind(self, to: str) -> None:
        own = [push for push in self._of(to) if not (push.given_up and push.key in self._named)]
        marks = [push.since for push in own]
        if to in self.behind:
            marks.append(self.behind[to])
        self.behind[to] = min(marks, key=lambda mark: mark.offset)
        self.falls[to] += 1
        for push in own:
            self._let_go(push)

    def _is_tried_again(self, push: Push) -> bool:
        return not push.given_up and self._is_named(push)

    # -- the account ------------------------------------------------------------------------------------------------

    def _is_named(self, push: Push) -> bool:
        return bool(push.attempts or push.given_up or push.key[0] in self._away or push.key in self._named)

    @property
    def through(self) -> Mark:
        """Everything before it is told, but for what the account will name."""
        held = (
            fact.mark
            for push in self._pushes.values()
            if push.key[0] not in self.behind and not self._is_named(push)
            for fact in push.facts[:1]
        )
        return min(held, default=self.at, key=lambda mark: mark.offset)

    @property
    def position(self) -> Mark:
        """Everything before it is told, but for what the account names already."""
        held = [
            min((fact.mark for fact in push.facts), key=lambda mark: mark.offset)
            for push in self._pushes.values()
            if push.facts and push.key[0] not in self.behind
        ]
        held += [mark for to, mark in self.behind.items() if to not in self._named_behind]
        return min([self.at, *held], key=lambda mark: mark.offset)

    def news(self) -> News:
        """What is to be reported."""
        waiting = [push.as_waiting() for push in self._pushes.values() if self._is_named(push)]
        kept = {one.key for one in waiting}
        return News(
            through=self.through.offset,
            waiting=tuple(one for one in waiting if self._named.get(one.key) != one),
            told=tuple(
                Named(to=one.to, object_id=one.object_id)
                for key, one in (self._doubtful | self._named).items()
                if key not in kept
            ),
            behind={to: mark for to, mark in self.behind.items() if self._named_behind.get(to) != mark},
            caught_up=tuple(
                to
                for to in dict.fromkeys((*self._named_behind, *sorted(self._doubtful_behind)))
                if to not in self.behind and not self._owes_unnamed(to)
            ),
            heard=self._heard,
            heard_more=self._heard > self._heard_reported,
        )

    def _owes_unnamed(self, to: str) -> bool:
        """Whether something waits that stands nowhere: the position passed it while the partner was behind, so its
        mark in the account stays until that is told or named."""
        return any(push.key not in self._named for push in self._of(to))

    @property
    def has_told(self) -> bool:
        """Whether anything was told that was not reported."""
        return self._has_told

    def reported(self, news: News) -> None:
        """The log has it."""
        self._has_told = False
        self._heard_reported = news.heard
        for named in news.told:
            self._doubtful.pop((str(named.to), named.object_id), None)
        for one in news.waiting:
            self._named[one.key] = one
            self._doubtful.pop(one.key, None)
            push = self._pushes.get(one.key)
            if push is not None:
                push.facts = [fact for fact in push.facts if fact.version > one.version]
        self._doubtful_behind -= {*news.caught_up, *news.behind}
        self._named_behind.update(news.behind)

    def reporting(self, news: News) -> None:
        """It is on its way: until it is reported, nobody knows whether the log has it. No position passes by what it
        names, nor by what it takes back; and what it names is taken back by name."""
        self._doubtful.update((one.key, one) for one in news.waiting)
        for named in news.told:
            key = str(named.to), named.object_id
            if (one := self._named.pop(key, None)) is not None:
                self._doubtful[key] = one
        for to in news.caught_up:
            self._named_behind.pop(to, None)
        self._doubtful_behind.update(news.behind, news.caught_up)

    @property
    def in_vain(self) -> bool:
        """Whether somebody's word may have something tried sooner."""
        return any(push.attempts or push.given_up for push in self._pushes.values())

    def __len__(self) -> int:
        return len(self._pushes)

    def get(self, key: Key) -> Push | None:
        """What is on its way under this key."""
        return self._pushes.get(key)
