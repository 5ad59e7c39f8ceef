"""What is still to be told: spacing, repeats, partners that are away or behind, and what a next holder takes up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import outbox as outbox_module
from domain.outbox import Outbox, Push
from domain.owed import Owed
from domain.pushes import SPACING, Asked, Mark, OwedCdr, Waiting
from domain.values import PartyId

T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
MSP, OTHER = PartyId(country_code="NL", party_id="MSP"), PartyId(country_code="NL", party_id="OTH")


class Partition:
    """A partition's facts, the account that the log keeps, and one holder after the other."""

    def __init__(self) -> None:
        self.now = T0
        self.facts: list[tuple[PartyId, str, int, bool]] = []
        self.through = 0
        self.waiting: dict[tuple[str, str], Waiting] = {}
        self.behind: dict[str, Mark] = {}
        self.position = 0
        self.told: list[tuple[str, str, int]] = []
        self.holder = self.take_up()

    def take_up(self, *, again: bool = False) -> Outbox:
        """Somebody holds it from now on, and reads what stands behind the position; `again`: who held it before."""
        known = self.holder.just_told(self.now) if again else None
        self.holder = Outbox(self.now, SPACING["sessions"], known)
        self.holder.take_up(self.through, list(self.waiting.values()), self.behind, self.now)
        self.holder.at = Mark(offset=self.position)
        for offset in range(self.position, len(self.facts)):
            self.read(offset)
        return self.holder

    def read(self, offset: int, *, walked: bool = False) -> tuple[OwedCdr, ...]:
        to, id, version, urgent = self.facts[offset]
        released = self.holder.owe(
            Owed(to, version, urgent), id, Mark(offset=offset), self.now, walked=walked
        )
        if not walked:
            self.holder.at = Mark(offset=offset + 1)
        return released

    def happens(self, id: str, version: int, *, urgent: bool = False, to: PartyId = MSP) -> None:
        self.facts.append((to, id, version, urgent))
        self.read(len(self.facts) - 1)

    def version(self, to: PartyId, id: str) -> int:
        return max((version for who, one, version, _ in self.facts if (who, one) == (to, id)), default=0)

    def report(self, *, answered: bool = True) -> None:
        news = self.holder.news()
        self.through = news.through
        for named in news.told:
            self.waiting.pop((str(named.to), named.object_id), None)
        self.waiting.update({one.key: one for one in news.waiting})
        for to in news.caught_up:
            self.behind.pop(to, None)
        self.behind.update(news.behind)
        self.holder.reporting(news)
        if answered:
            self.holder.reported(news)

    def commit(self) -> None:
        self.position = self.holder.position.offset

    def send(self, outcome: str = "delivered") -> list[Push]:
        """All that is due, each as it is now."""
        due = self.holder.due(self.now)
        for push in due:
            self.holder.begin(push)
            version = self.version(push.to, push.object_id)
            if outcome == "delivered":
                self.told.append((push.key[0], push.object_id, version))
                self.holder.sent(push, version, self.now)
            elif outcome == "offline":
                self.holder.postpone(push, self.now)
                self.holder.offline(push.key[0])
            else:
                self.holder.failed(push, outcome, "no", self.now)
        return due

    def wait(self) -> timedelta:
        due = self.holder.next_due(self.now)
        assert due is not None
        waited, self.now = due - self.now, due
        return waited

    def walk(self, to: PartyId = MSP) -> None:
        """All of its facts since it is behind, as far as there is room."""
        for offset in range(self.holder.behind[str(to)].offset, self.holder.at.offset):
            while self.holder.room(str(to)) <= 0:
                self.send()
            if self.facts[offset][0] == to:
                self.read(offset, walked=True)
            self.holder.walked(str(to), Mark(offset=offset + 1))
        self.holder.caught_up(str(to))


def test_a_start_is_told_at_once_and_what_runs_30_seconds_later_an_end_at_once() -> None:
    partition = Partition()
    partition.happens("s1", 1, urgent=True)
    partition.send()
    partition.happens("s1", 2)
    partition.happens("s1", 3)
    assert (partition.send(), partition.wait()) == ([], timedelta(seconds=30))
    partition.send()
    partition.happens("s1", 4)
    partition.happens("s1", 5, urgent=True)
    partition.send()
    assert [version for *_, version in partition.told] == [1, 3, 5]


def test_what_waits_for_its_spacing_holds_the_position_and_is_named_nowhere() -> None:
    partition = Partition()
    partition.happens("s1", 1, urgent=True)
    partition.happens("s2", 1, urgent=True)
    partition.send()
    partition.happens("s1", 2)
    partition.happens("s2", 2)
    assert not partition.holder.news().matters
    assert (partition.holder.through.offset, partition.holder.position.offset) == (2, 2)
    partition.wait()
    partition.send()
    assert (partition.holder.through.offset, partition.holder.position.offset) == (4, 4)


def test_the_position_passes_what_was_tried_in_vain_once_the_account_names_it() -> None:
    partition = Partition()
    partition.happens("s1", 1, urgent=True)
    partition.send("refused")
    assert (partition.holder.through.offset, partition.holder.position.offset) == (1, 0)
    partition.report()
    assert partition.holder.position.offset == 1
    (named,) = partition.waiting.values()
    assert (named.attempts, named.outcome, named.due) == (1, "refused", T0 + timedelta(seconds=5))


def test_what_a_report_without_an_answer_named_is_taken_back_once_it_is_told() -> None:
    partition = Partition()
    partition.happens("s1", 1, urgent=True)
    partition.send("unreachable")
    partition.report(answered=False)
    assert partition.holder.position.offset == 0, "whether the account names it is not known"
    partition.now += timedelta(seconds=5)
    partition.send()
    partition.report()

    assert not partition.waiting


def test_a_partner_that_falls_behind_after_a_report_without_an_answer_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The account knows that it had caught up, and this holder does not know that it knows."""
    monkeypatch.setattr(outbox_module, "MOST_NAMED", 2)
    partition = Partition()
    partition.happens("s0", 1, urgent=True)
    partition.send("offline")
    for number in range(1, 4):
        partition.happens(f"s{number}", 1, urgent=True)
    partition.report()
    partition.holder.back("NL*MSP", partition.now)
    partition.walk()
    partition.send()
    partition.report(answered=False)
    assert partition.behind == {}
    partition.happens("s4", 1, urgent=True)
    partition.send("offline")
    for number in range(5, 8):
        partition.happens(f"s{number}", 1, urgent=True)
    partition.commit()
    partition.take_up()

    partition.send()

    assert {id for _, id, _ in partition.told} == {f"s{number}" for number in range(8)}


def test_a_newer_version_of_what_is_named_holds_the_position_until_that_is_named_too() -> None:
    partition = Partition()
    partition.happens("s1", 1, urgent=True)
    partition.send("refused")
    partition.report()
    partition.happens("s1", 2)
    assert partition.holder.position.offset == 1
    partition.report()
    assert (partition.holder.position.offset, next(iter(partition.waiting.values())).version) == (2, 2)


def test_waits_grow_from_5_seconds_to_15_minutes_and_after_24_hours_it_is_given_up() -> None:
    partition = Partition()
    partition.happens("s1", 1, urgent=True)
    waits: list[timedelta] = []
    partition.send("unreachable")
    while partition.holder.next_due(partition.now) is not None:
        waits.append(partition.wait())
        partition.send("unreachable")
    assert waits[:3] == [timedelta(seconds=5), timedelta(seconds=10), timedelta(seconds=20)]
    assert max(waits) == timedelta(minutes=15)
    assert timedelta(hours=23, minutes=40) < partition.now - T0 <= timedelta(hours=24)
    partition.report()
    assert [one.given_up for one in partition.waiting.values()] == [True]
    partition.happens("s1", 2)
    partition.wait()
    partition.send()
    assert partition.told == [("NL*MSP", "s1", 2)]


def test_what_was_given_up_is_tried_again_by_hand_and_once() -> None:
    partition = Partition()
    partition.happens("s1", 1, urgent=True)
    partition.send("unreachable")
    while partition.holder.next_due(partition.now) is not None:
        partition.wait()
        partition.send("unreachable")
    asked = [Asked(to=MSP, object_id="s1", version=3)]
    partition.now += timedelta(seconds=10)
    partition.holder.retry(asked, partition.now)
    partition.holder.retry(asked, partition.now)
    partition.send()
    partition.holder.retry(asked, partition.now)
    assert (partition.send(), partition.told) == ([], [("NL*MSP", "s1", 1)])


def test_nothing_newer_is_sent_while_an_older_request_may_still_arrive() -> None:
    """A request of unknown outcome is followed by five seconds of silence, however urgent what comes next."""
    partition = Partition()
    partition.happens("s1", 1, urgent=True)
    partition.send("unknown")
    partition.happens("s1", 2, urgent=True)
    assert (partition.send(), partition.wait()) == ([], timedelta(seconds=5))


def test_what_changes_while_it_is_sent_is_sent_next() -> None:
    partition = Partition()
    partition.happens("s1", 1, urgent=True)
    (push,) = partition.holder.due(partition.now)
    partition.holder.begin(push)
    partition.happens("s1", 5, urgent=True)
    assert partition.holder.due(partition.now) == []
    partition.holder.sent(push, 1, partition.now)
    partition.send()
    assert partition.told == [("NL*MSP", "s1", 5)]


def test_a_session_met_by_a_new_holder_waits_for_the_spacing_since_then() -> None:
    """Nobody knows when it was told last."""
    partition = Partition()
    partition.happens("s1", 1, urgent=True)
    partition.send()
    partition.commit()
    partition.now += timedelta(seconds=40)
    partition.take_up()
    partition.happens("s1", 2)
    assert (partition.send(), partition.wait()) == ([], timedelta(seconds=30))


def test_who_gets_a_partition_back_before_its_report_was_heard_tells_nothing_again_too_soon() -> None:
    """Seed 730105: the start was told, the partition was lost and came back while the log could not be reached."""
    partition = Partition()
    partition.happens("s1", 1, urgent=True)
    partition.happens("s0", 1, urgent=True)
    partition.send()
    partition.now += timedelta(seconds=25)
    partition.happens("s1", 2)
    partition.take_up(again=True)
    assert (partition.send(), partition.wait()) == ([], timedelta(seconds=5))
    partition.send()
    assert partition.told == [("NL*MSP", "s0", 1), ("NL*MSP", "s1", 1), ("NL*MSP", "s1", 2)]
    partition.now += timedelta(seconds=30)
    assert partition.holder.just_told(partition.now) == {}


def test_a_partner_that_is_not_connected_is_sent_nothing_and_then_what_is_now() -> None:
    partition = Partition()
    partition.happens("s1", 1, urgent=True)
    partition.send("offline")
    for version in range(2, 9):
        partition.happens("s1", version)
    partition.happens("s2", 1, urgent=True, to=OTHER)
    assert [push.to for push in partition.send()] == [OTHER]
    partition.report()
    assert partition.holder.position.offset == len(partition.facts)
    partition.now += timedelta(days=3)
    partition.holder.back("NL*MSP", partition.now)
    partition.send()
    assert partition.told[1:] == [("NL*MSP", "s1", 8)]


def test_what_was_told_just_before_a_partner_went_waits_for_its_spacing_when_it_is_back() -> None:
    partition = Partition()
    partition.happens("A", 1, urgent=True)
    partition.send()
    partition.happens("A", 2)
    partition.happens("B", 1, urgent=True)
    partition.holder.offline("NL*MSP")
    partition.now += timedelta(seconds=4)
    partition.holder.back("NL*MSP", partition.now)
    assert [push.object_id for push in partition.send()] == ["B"]
    partition.now += timedelta(seconds=26)
    assert [push.object_id for push in partition.send()] == ["A"]


def test_of_a_partner_with_too_much_waiting_one_offset_is_kept_and_each_object_is_sent_once() -> None:
    partition = Partition()
    partition.happens("s0", 1, urgent=True)
    partition.send("offline")
    for number in range(1, 1000):
        partition.happens(f"s{number % 300}", 1 + number // 300, urgent=True)
    partition.report()
    assert (partition.waiting, partition.behind) == ({}, {"NL*MSP": Mark(offset=0)})
    assert (len(partition.holder), partition.holder.position.offset) == (0, 1000)
    partition.commit()
    partition.take_up()
    partition.walk()
    partition.send()
    partition.report()
    assert sorted(partition.told) == sorted(
        ("NL*MSP", f"s{number}", partition.version(MSP, f"s{number}")) for number in range(300)
    )
    assert (partition.waiting, partition.behind, partition.through) == ({}, {}, 1000)


def test_a_partner_is_caught_up_once_what_the_position_had_passed_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Whoever takes it up in between reads on from the position, and walks what lies before it."""
    monkeypatch.setattr(outbox_module, "MOST_NAMED", 0)
    partition = Partition()
    partition.happens("s1", 1, urgent=True)
    partition.send("offline")
    partition.report()
    partition.commit()
    assert (partition.position, partition.behind) == (1, {"NL*MSP": Mark(offset=0)})
    partition.holder.back("NL*MSP", partition.now)
    partition.walk()
    partition.report()
    assert partition.behind, "it stands nowhere else"
    partition.take_up()
    partition.walk()
    partition.send()
    partition.report()
    assert partition.told == [("NL*MSP", "s1", 1)]
    assert (partition.waiting, partition.behind) == ({}, {})


def test_a_partner_that_fails_while_it_is_walked_falls_behind_anew_and_loses_nothing() -> None:
    partition = Partition()
    partition.happens("s0", 1, urgent=True)
    partition.send("offline")
    for number in range(1, 150):
        partition.happens(f"s{number}", 1, urgent=True)
    before = partition.holder.falls["NL*MSP"]
    partition.holder.back("NL*MSP", partition.now)
    for offset in range(20):
        partition.read(offset, walked=True)
        partition.holder.walked("NL*MSP", Mark(offset=offset + 1))
    assert partition.holder.behind["NL*MSP"].offset == 0
    partition.holder.offline("NL*MSP")
    assert (partition.holder.falls["NL*MSP"], partition.holder.behind["NL*MSP"].offset) == (before + 1, 0)


def test_a_cdr_is_released_with_the_version_that_issued_it() -> None:
    partition = Partition()
    cdr = OwedCdr(id="c1", version=3, offset=0, issued_at=T0)
    outbox = partition.holder
    outbox.owe(Owed(MSP, 3, True, (cdr,)), "s1", Mark(offset=0), T0)
    (push,) = outbox.due(T0)
    assert push.cdrs == (cdr,)
    outbox.failed(push, "unreachable", "no", T0)
    assert [one.cdrs for one in outbox.news().waiting] == [(cdr,)]
    outbox.begin(push)
    outbox.sent(push, 3, T0)
    # Told already by the document that was newer than its fact: there is nothing to wait for.
    assert outbox.owe(Owed(MSP, 3, True, (cdr,)), "s1", Mark(offset=0), T0, after_all=True) == (cdr,)


def test_what_has_changed_during_the_last_try_of_24_hours_is_not_given_up() -> None:
    partition = Partition()
    partition.happens("s1", 1, urgent=True)
    partition.send("refused")
    partition.now += timedelta(hours=24)
    (push,) = partition.holder.due(partition.now)
    partition.holder.begin(push)
    partition.happens("s1", 2, urgent=True)
    assert not partition.holder.failed(push, "refused", "no", partition.now)
    partition.wait()
    partition.send()
    assert partition.told == [("NL*MSP", "s1", 2)]


def test_what_was_given_up_with_its_cdr_not_let_go_is_tried_once_more_by_the_next_holder() -> None:
    partition = Partition()
    cdr = OwedCdr(id="c1", version=1, offset=0, issued_at=T0)
    partition.holder.owe(Owed(MSP, 1, True, (cdr,)), "s1", Mark(offset=0), T0)
    partition.send("unreachable")
    partition.now += timedelta(hours=24)
    partition.send("unreachable")
    partition.report()
    assert [one.given_up for one in partition.waiting.values()] == [True]
    (push,) = partition.take_up().due(partition.now)
    assert push.cdrs == (cdr,)
    partition.holder.begin(push)
    assert partition.holder.failed(push, "unreachable", "no", partition.now)


def test_what_can_never_be_told_is_given_up_at_once_and_holds_up_no_walk(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A party that has changed hands while it was away: the sessions of before are nobody's business any more."""
    monkeypatch.setattr(outbox_module, "MOST_NAMED", 3)
    monkeypatch.setattr(outbox_module, "WALKED_AT_ONCE", 2)
    monkeypatch.setattr(outbox_module, "MOST_GIVEN_UP", 4)
    partition = Partition()
    partition.happens("s0", 1, urgent=True)
    partition.send("offline")
    for number in range(1, 12):
        partition.happens(f"s{number}", 1, urgent=True)
    holder, to = partition.holder, str(MSP)
    holder.back(to, partition.now)
    for offset in range(12):
        partition.read(offset, walked=True)
        for push in holder.due(partition.now):
            holder.begin(push)
            if offset < 10:
                assert holder.failed(push, "refused", "changed hands", partition.now, for_good=True)
            else:
                partition.told.append((push.key[0], push.object_id, 1))
                holder.sent(push, 1, partition.now)
        assert holder.room(to) == 2
        holder.walked(to, Mark(offset=offset + 1))
    holder.caught_up(to)
    partition.report()
    assert [id for _, id, _ in partition.told] == ["s10", "s11"]
    assert [one.object_id for one in partition.waiting.values()] == ["s6", "s7", "s8", "s9"]
    assert all(one.given_up for one in partition.waiting.values())
    assert (partition.behind, holder.position.offset) == ({}, 12)


def test_what_was_asked_for_again_before_the_first_word_was_reported_is_tried_again() -> None:
    partition = Partition()
    partition.happens("s1", 1, urgent=True)
    partition.send("refused")
    partition.holder.retry([Asked(to=MSP, object_id="s1", version=3)], partition.now)
    partition.wait()
    partition.send("refused")
    news = partition.holder.news()
    assert (news.heard, news.matters) == (3, True)
    partition.holder.retry([Asked(to=MSP, object_id="s1", version=5)], partition.now)
    assert partition.wait() == timedelta(seconds=5)
    partition.report()
    assert [(one.attempts, one.due) for one in partition.waiting.values()] == [(0, partition.now)]
    assert partition.holder.news().heard == 5


STEPS = [
    "happens",
    "ends",
    "ok",
    "refused",
    "unknown",
    "offline",
    "back",
    "report",
    "report unanswered",
    "report lost",
    "commit",
    "killed",
    "time",
]


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 3)), max_size=60), st.integers(1, 4))
def test_whoever_is_killed_the_newest_state_arrives_and_no_older_one_after_it(
    steps: list[tuple[str, int]], bound: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox_module, "MOST_NAMED", bound)
        partition = Partition()
        for step, number in steps:
            id = f"s{number}"
            if step in ("happens", "ends"):
                partition.happens(id, partition.version(MSP, id) + 1, urgent=step == "ends")
            elif step == "ok":
                partition.send()
            elif step in ("refused", "unknown", "offline"):
                partition.send(step)
            elif step == "back":
                partition.holder.back("NL*MSP", partition.now)
                if "NL*MSP" in partition.holder.behind:
                    partition.walk()
            elif step == "report":
                partition.report()
            elif step == "report unanswered":
                partition.report(answered=False)
            elif step == "report lost":
                partition.holder.reporting(partition.holder.news())
            elif step == "commit":
                partition.commit()
            elif step == "killed":
                partition.take_up()
            else:
                partition.now += timedelta(seconds=10 * number)
        partition.holder.back("NL*MSP", partition.now)
        while "NL*MSP" in partition.holder.behind:
            partition.walk()
        for _ in range(20):
            partition.now += timedelta(minutes=15)
            partition.send()
        newest: dict[str, int] = {}
        for _, id, version in partition.told:
            assert version >= newest.get(id, 0)
            newest[id] = version
        assert newest == {id: partition.version(MSP, id) for _, id, _, _ in partition.facts}
        partition.report()
        assert (partition.waiting, partition.behind) == ({}, {})
        assert partition.through == partition.holder.position.offset == len(partition.facts)
