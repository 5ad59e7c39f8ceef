"""The account of a partition's pushes: one holder at a time, and the next one knows whether the former has ended."""

from __future__ import annotations

from datetime import UTC, datetime

from commands.base import Accepted, Command, Meta, Outcome, Refusal, Rejected
from commands.pushes import ROUTES, Account, Report, RetryPush, Standing, TakeOver
from domain.pushes import Asked, Mark, Named, Pushes, Waiting, pushes_id
from domain.values import PartyId

T0 = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
MSP = PartyId(country_code="NL", party_id="MSP")
SESSION = Named(to=MSP, object_id="s1")
WAITING = Waiting(to=MSP, object_id="s1", tenant="demo", version=3, since=Mark(offset=5), attempts=1, due=T0)


class Told:
    def __init__(self) -> None:
        self.pushes = Pushes.blank(pushes_id("sessions", 7))

    def ask(self, command: Command) -> Outcome:
        return ROUTES[type(command)].handler(self.pushes, command, Meta(command_id="x", at=T0))

    def take_over(self, by: str) -> Account:
        outcome = self.ask(TakeOver(module="sessions", partition=7, by=by))
        assert isinstance(outcome, Accepted) and isinstance(outcome.reply, Account)
        return outcome.reply

    def report(self, epoch: int, **said: object) -> Outcome:
        return self.ask(Report(module="sessions", partition=7, epoch=epoch, **said))  # type: ignore[arg-type]

    def clear(self, epoch: int) -> bool:
        outcome = self.report(epoch, through=self.pushes.state.through)
        assert isinstance(outcome, Accepted) and isinstance(outcome.reply, Standing)
        return outcome.reply.clear


def test_the_first_holder_has_nobody_to_wait_for() -> None:
    assert Told().take_over("a").clear


def test_who_takes_over_gets_what_was_reported_last() -> None:
    told = Told()
    epoch = told.take_over("a").epoch
    told.report(epoch, through=9, waiting=(WAITING,), behind={"NL*OTH": Mark(offset=2)})
    told.report(epoch, through=11, behind={"NL*OTH": Mark(offset=4)})
    account = told.take_over("b")
    assert (account.through, account.waiting, account.behind) == (11, (WAITING,), {"NL*OTH": Mark(offset=4)})
    told.report(account.epoch, through=12, told=(SESSION,), caught_up=("NL*OTH",))
    account = told.take_over("c")
    assert (account.through, account.waiting, account.behind) == (12, (), {})


def test_what_a_former_holder_reports_does_not_count() -> None:
    told = Told()
    former = told.take_over("a").epoch
    told.take_over("b")
    before = told.pushes.version
    outcome = told.report(former, through=99)
    assert isinstance(outcome, Rejected)
    assert (outcome.refusal, told.pushes.version) == (Refusal.STALE, before)


def test_after_a_holder_that_said_nothing_the_next_one_is_not_clear() -> None:
    told = Told()
    told.take_over("a")
    assert not told.take_over("b").clear


def test_a_holder_that_handed_over_need_not_be_waited_for() -> None:
    told = Told()
    told.report(told.take_over("a").epoch, through=3, last=True)
    account = told.take_over("b")
    assert (account.clear, account.through) == (True, 3)


def test_a_hand_over_that_comes_late_clears_the_holder_after_it() -> None:
    told = Told()
    former = told.take_over("a").epoch
    epoch = told.take_over("b").epoch
    assert not told.clear(epoch)
    told.report(former, through=99, last=True)
    assert (told.clear(epoch), told.pushes.state.through) == (True, 0)


def test_a_hand_over_clears_nobody_who_came_after_a_silent_one() -> None:
    """b never said anything: it may still send, though a does not."""
    told = Told()
    former = told.take_over("a").epoch
    told.take_over("b")
    epoch = told.take_over("c").epoch
    told.report(former, last=True)
    assert not told.clear(epoch)


def test_one_life_of_one_process_need_not_wait_for_itself() -> None:
    told = Told()
    told.take_over("a")
    assert told.take_over("a").clear
    told.take_over("b")
    assert not told.take_over("b").clear


def test_a_report_that_says_nothing_new_makes_no_event() -> None:
    told = Told()
    epoch = told.take_over("a").epoch
    told.report(epoch, through=4)
    before = told.pushes.version
    assert told.clear(epoch)
    assert told.pushes.version == before


def test_who_reports_hears_what_is_to_be_tried_again_until_it_says_that_it_has_heard() -> None:
    told = Told()
    epoch = told.take_over("a").epoch
    told.ask(RetryPush(module="sessions", partition=7, to=MSP, object_id="s1", by="ann"))
    for _ in range(2):
        outcome = told.report(epoch)
        assert isinstance(outcome, Accepted) and isinstance(outcome.reply, Standing)
        assert outcome.reply.retries == (Asked(to=MSP, object_id="s1", version=2),)
    told.report(epoch, waiting=(WAITING,), heard=2)
    assert told.pushes.state.retries == []


def test_a_report_that_had_not_heard_of_it_takes_away_nothing_that_was_asked_for() -> None:
    """Somebody asks while a report of the same object is on its way."""
    told = Told()
    epoch = told.take_over("a").epoch
    told.ask(RetryPush(module="sessions", partition=7, to=MSP, object_id="s1", by="ann"))
    outcome = told.report(epoch, waiting=(WAITING,))
    assert isinstance(outcome, Accepted) and isinstance(outcome.reply, Standing)
    assert [one.object_id for one in outcome.reply.retries] == ["s1"]


def test_a_report_that_comes_after_a_later_one_does_not_count() -> None:
    told = Told()
    epoch = told.take_over("a").epoch
    told.report(epoch, through=9, waiting=(WAITING,), number=2)
    late = told.report(epoch, through=4, told=(SESSION,), number=1)
    assert isinstance(late, Rejected) and late.refusal is Refusal.STALE
    assert (told.pushes.state.through, len(told.pushes.state.waiting)) == (9, 1)


def test_nothing_is_tried_again_of_a_partition_that_nobody_ever_held() -> None:
    outcome = Told().ask(RetryPush(module="sessions", partition=7, to=MSP, object_id="s1"))
    assert isinstance(outcome, Rejected) and outcome.refusal is Refusal.UNKNOWN
