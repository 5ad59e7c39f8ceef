"""One fan-out: who hears what, in what bounds, and from where on."""

from __future__ import annotations

import asyncio
from random import Random

import msgspec
import pytest

from application.live.bookmark import Bookmark, BookmarkError
from application.live.events import MASK, Told, Wanted
from application.live.fanout import TooManyStreamsError
from streams.log import LogUnavailableError, Stored, TopicPartition
from streams.log.topology import PUBLIC
from tests.application.live.public_log import Listener, PublicLog, ce_id, fanout_of, headers, listener
from tests.simulation.loop import SimLoop
from tests.streams.harness import until

ENDED = "chargesphere.session.ended.v1"


async def test_each_listener_hears_its_tenants_events_in_the_order_of_their_partition() -> None:
    log = PublicLog()
    fanout = fanout_of(log)
    demo, acme = await listener(fanout), await listener(fanout, "acme")
    told = [log.tell(tenant) for tenant in ("demo", "acme", "demo", "", "acme")]

    await demo.hear(told[2])
    await acme.hear(told[4])

    assert demo.ids == [told[0], told[2]]
    assert acme.ids == [told[1], told[4]]
    await fanout.close()


async def test_a_listener_hears_the_types_and_charge_points_that_it_named() -> None:
    log = PublicLog()
    fanout = fanout_of(log)
    ends = await listener(fanout, "demo", "session_ended")
    at_two = await listener(fanout, charge_points=frozenset({"CP-2"}))
    log.tell()
    ended = log.tell(ce_type=ENDED)
    at_cp_2 = log.tell(charge_point_id="CP-2")
    about_none = log.tell(charge_point_id=None)
    last = log.tell(ce_type=ENDED, charge_point_id="CP-2")

    await ends.hear(last)
    await at_two.hear(last)

    assert ends.ids == [ended, last]
    assert at_two.ids == [at_cp_2, last]
    assert about_none not in at_two.ids
    await fanout.close()


async def test_however_many_listen_the_topics_are_read_once_and_not_at_all_when_nobody_does() -> None:
    log = PublicLog()
    fanout = fanout_of(log)
    log.tell()
    listeners = [await listener(fanout, "demo") for _ in range(50)]
    told = log.tell()
    for one in listeners:
        await one.hear(told)

    assert (log.readers, log.open_readers, log.read) == (1, 1, 1)
    for one in listeners:
        one.subscription.close()
    await until(lambda: log.open_readers == 0)
    log.tell()
    assert log.read == 1
    assert fanout.counts["subscribers"] == 0


async def _one_comes_and_goes(log: PublicLog) -> None:
    fanout = fanout_of(log, linger=10.0)
    last: str | None = None
    for _ in range(20):
        one = await listener(fanout, since=last)
        await one.hear(log.tell())
        last = one.last
        one.subscription.close()
        await asyncio.sleep(9)
    assert (log.readers, log.open_readers, log.read) == (1, 1, 20)
    await asyncio.sleep(1.1)
    assert log.open_readers == 0
    again = await listener(fanout, since=last)
    await again.hear(log.tell())
    assert (log.readers, log.open_readers, again.names) == (2, 1, ["session_started"])
    again.subscription.close()
    await fanout.close()
    assert log.open_readers == 0


def test_who_comes_and_goes_in_a_loop_makes_one_reader_that_ends_10_s_after_the_last_has_gone() -> None:
    loop: SimLoop = SimLoop(Random(1))  # type: ignore[abstract]
    loop.run_until_complete(_one_comes_and_goes(PublicLog()))
    assert loop.exceptions == []


async def test_who_does_not_take_delays_nobody_and_holds_no_more_than_its_bounds() -> None:
    log = PublicLog()
    fanout = fanout_of(log, waiting=20, waiting_bytes=4_000, kept=10, kept_bytes=10_000)
    slow, quick = await listener(fanout), await listener(fanout)
    told = []
    for _ in range(500):
        told.append(log.tell(size=50))
        await quick.hear(told[-1])
        assert slow.subscription.waiting_bytes <= 4_000 + 200

    assert quick.ids == told
    assert "lagged" not in quick.names
    assert fanout.counts["lagged"] == 1
    assert fanout.counts["waiting_bytes"] <= 4_000 + 200
    await fanout.close()


async def test_who_lagged_is_told_so_with_its_position_and_then_everything_that_it_missed() -> None:
    log = PublicLog()
    fanout = fanout_of(log, waiting=5, kept=3)
    slow = await listener(fanout)
    told = [log.tell(partition=number % 2) for number in range(100)]
    await until(lambda: fanout.counts["behind"] == 1)

    await slow.hear(*told)

    assert sorted(slow.ids) == sorted(told)
    place = slow.names.index("lagged")
    assert slow.names.count("lagged") == 1
    assert slow.events[place].data == b'{"position":"%b"}' % slow.events[place].id.encode()
    before = [ce_id(event) for event in slow.events[:place]]
    again = await listener(fanout, since=slow.events[place].id)
    await again.hear(*set(told) - set(before))
    assert not set(before) & set(again.ids)
    await until(lambda: fanout.counts["behind"] == 0)
    now = log.tell()
    await slow.hear(now)
    await fanout.close()


async def test_who_comes_back_soon_is_told_from_memory_and_the_log_is_not_read_for_it() -> None:
    log = PublicLog()
    fanout = fanout_of(log)
    stays, leaves = await listener(fanout), await listener(fanout)
    first = log.tell()
    await leaves.hear(first)
    leaves.subscription.close()
    missed = [log.tell(partition=1), log.tell("acme"), log.tell()]
    await stays.hear(missed[-1])

    back = await listener(fanout, since=leaves.last)
    await back.hear(missed[0], missed[2])

    assert sorted(back.ids) == sorted([missed[0], missed[2]])
    assert (log.readers, log.read) == (1, 4)
    await fanout.close()


async def test_who_comes_back_late_is_told_everything_since_by_one_reader_for_all_of_them() -> None:
    log = PublicLog()
    fanout = fanout_of(log, kept=2)
    first = await listener(fanout)
    seen = log.tell()
    await first.hear(seen)
    first.subscription.close()
    missed = [log.tell(partition=number % 2) for number in range(50)]

    back = [await listener(fanout, since=first.last) for _ in range(20)]
    for one in back:
        await one.hear(*missed)
        assert one.ids.count(seen) == 0

    await until(lambda: fanout.counts["behind"] == 0)
    assert log.readers <= 4
    now = log.tell()
    for one in back:
        await one.hear(now)
    await fanout.close()


async def test_who_reads_a_long_history_again_holds_up_nobody_who_is_nearer() -> None:
    log = PublicLog()
    fanout = fanout_of(log, kept=2, turn=100)
    oldest = await listener(fanout)
    seen = log.tell()
    await oldest.hear(seen)
    for _ in range(20_000):
        log.tell("acme")
    last = log.tell()
    await oldest.hear(last)
    near = oldest.last
    missed = [log.tell() for _ in range(10)]
    await oldest.hear(missed[-1])

    far = await listener(fanout, since=oldest.events[0].id)
    close_by = await listener(fanout, since=near)
    await close_by.hear(*missed)

    assert far.ids == []
    await fanout.close()


async def test_who_stands_before_what_cannot_be_read_holds_up_nobody_behind_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    log = PublicLog()
    fanout = fanout_of(log, kept=2)
    first = await listener(fanout)
    before = first.subscription.bookmark
    await first.hear(log.tell(), log.tell())
    after = first.subscription.bookmark
    told = [log.tell() for _ in range(5)]
    await first.hear(*told)
    log.damaged = (TopicPartition(PUBLIC["sessions"], 0), 1)

    stuck = await listener(fanout, since=before)
    late = await listener(fanout, since=after)
    await late.hear(*told)
    assert (late.ids, stuck.ids) == (told, [])
    assert caplog.text.count("cannot be read") == 1
    await fanout.close()


async def test_what_retention_took_is_a_gap_and_the_stream_goes_on() -> None:
    log = PublicLog()
    fanout = fanout_of(log, kept=1)
    first = await listener(fanout)
    seen = log.tell()
    await first.hear(seen)
    first.subscription.close()
    lost, kept = log.tell(), log.tell()
    log.forget(TopicPartition(PUBLIC["sessions"], 0), 2)

    back = await listener(fanout, since=first.last)
    await back.hear(kept)

    assert back.names == ["gap", "session_started"]
    assert back.events[0].data == b'{"topics":["sessions"]}'
    assert lost not in back.ids
    assert fanout.counts["gaps"] == 1
    await fanout.close()


async def test_a_bookmark_beyond_the_end_of_the_log_is_a_gap_and_what_comes_is_told() -> None:
    log, shorter = PublicLog(), PublicLog()
    there = fanout_of(log)
    first = await listener(there)
    await first.hear(*[log.tell() for _ in range(5)])
    await there.close()
    shorter.tell()
    fanout = fanout_of(shorter)

    back = await listener(fanout, since=first.last)
    await back.take()
    now = shorter.tell()
    await back.hear(now)

    assert back.names == ["gap", "session_started"]
    await fanout.close()


async def test_who_heard_more_elsewhere_already_is_told_nothing_of_that_again() -> None:
    log = PublicLog()
    elsewhere = fanout_of(log)
    first = await listener(elsewhere)
    here = fanout_of(log)
    stays = await listener(here)
    log.held = {2}
    seen = log.tell()
    await first.hear(seen)

    moved = await listener(here, since=first.last)
    await until(lambda: here.counts["behind"] == 0)
    log.held.clear()
    now = log.tell()
    await moved.hear(now)
    await stays.hear(now)

    assert moved.ids == [now]
    assert stays.ids == [seen, now]
    await elsewhere.close()
    await here.close()


async def test_a_log_that_lost_its_end_interrupts_every_stream_and_who_comes_back_hears_of_the_gap() -> None:
    log = PublicLog()
    fanout = fanout_of(log)
    first = await listener(fanout)
    await first.hear(log.tell(), log.tell())
    log.records[TopicPartition(PUBLIC["sessions"], 0)].clear()
    log.tell(topic="cdrs")

    while not first.subscription.ended:
        await first.take()
    assert first.subscription.ended == "interrupted"
    first.subscription.close()

    back = await listener(fanout, since=first.last)
    await back.take()
    now = log.tell()
    await back.hear(now)
    assert back.names[0] == "gap"
    await fanout.close()


async def test_a_tenant_and_a_process_have_so_many_streams_and_a_place_that_is_left_is_free() -> None:
    log = PublicLog()
    fanout = fanout_of(log, streams=3, streams_of_tenant=2)
    first, _ = await listener(fanout), await listener(fanout)

    with pytest.raises(TooManyStreamsError) as of_tenant:
        await listener(fanout)
    await listener(fanout, "acme")
    first.subscription.close()
    first.subscription.close()
    await listener(fanout, "acme")
    with pytest.raises(TooManyStreamsError) as of_process:
        await listener(fanout, "else")

    assert (of_tenant.value.of_tenant, of_process.value.of_tenant) == (True, False)
    assert fanout.counts["refused"] == 2
    await fanout.close()


async def test_while_the_log_is_away_no_stream_begins_and_none_takes_a_place() -> None:
    log = PublicLog()
    fanout = fanout_of(log, streams=1)
    log.away = True
    with pytest.raises(LogUnavailableError):
        await listener(fanout)
    log.away = False

    one = await listener(fanout)
    await one.hear(log.tell())
    assert log.open_readers == 1
    await fanout.close()


async def test_at_the_end_of_the_process_every_stream_ends_and_none_begins() -> None:
    log = PublicLog()
    fanout = fanout_of(log)
    one = await listener(fanout)
    waiting = asyncio.create_task(one.take())
    await asyncio.sleep(0)

    await fanout.close()

    assert list(await waiting) == []
    assert one.subscription.ended == "shutdown"
    assert log.open_readers == 0
    with pytest.raises(LogUnavailableError):
        await listener(fanout)


async def test_a_bookmark_that_is_none_is_refused_before_anything_is_read() -> None:
    log = PublicLog()
    fanout = fanout_of(log)
    with pytest.raises(BookmarkError):
        await fanout.subscribe(Wanted("demo"), "nonsense")
    assert log.readers == 0


STARTED = headers("demo|0", "chargesphere.session.started.v1", "demo")
NO_EVENTS = (
    (b"{}", (("ce_tenantid", b"demo"),)),
    (b"{}", headers("demo|0", "chargesphere.session.started\nid: x", "demo")),
    (b"{}", (*STARTED, ("ce_id", b"\xff"))),
    (b"{}", (("ce_tenantid", b"\xff"), *STARTED)),
    (None, STARTED),
    (b"", STARTED),
    (b"[1]", STARTED),
    (b'["token_key"]', STARTED),
    (b'{"token_key":', STARTED),
    (b'{"charge_point_id":1}', STARTED),
    (b'{"charge_point_id":"\\ud800"}', STARTED),
    (b'{"token_key":"\xff"}', STARTED),
    (b'{"token_key":1}\n', STARTED),
    (b'{\r"charge_point_id":"CP-1"}', STARTED),
)


@pytest.mark.parametrize(("value", "given"), NO_EVENTS)
async def test_a_record_that_is_no_public_event_is_passed_over_by_those_who_hear_at_once_and_by_those_behind(
    value: bytes | None, given: tuple[tuple[str, bytes], ...]
) -> None:
    log = PublicLog()
    fanout = fanout_of(log, kept=1)
    beginning = Bookmark(2, [0] * 2 * len(PUBLIC)).text()
    first = await listener(fanout)
    log.tell()
    place = TopicPartition(PUBLIC["sessions"], 0)
    log.records[place][0] = Stored(*place, 0, 0, b"k", value, given)

    told = [log.tell(), log.tell()]
    await first.hear(*told)
    assert first.ids == told
    for wanted in (
        Wanted("demo"),
        Wanted("demo", charge_points=frozenset({"CP-1"})),
        Wanted("demo", people=True),
    ):
        late = await Listener(fanout, wanted).begin(beginning)
        await late.hear(*told)
        assert late.ids == told
    assert first.subscription.ended == ""
    await fanout.close()


async def test_a_viewer_hears_what_an_operator_hears_but_for_the_tag() -> None:
    value = b'{"total_cost":1.10,"charge_point_id":"CP-1","token_key":"9f2c","kwh":12345678901234567890.1234567890}'
    masked = value.replace(b"9f2c", MASK.encode())
    assert (Told(Stored("t", 0, 0, 0, b"k", value, STARTED)).masked).endswith(
        b'"data":' + masked + b',"tenantid":"demo"}'
    )


async def test_what_is_told_of_a_text_with_ends_of_lines_of_any_kind_is_one_line() -> None:
    text = "".join(map(chr, range(0x20))) + "a\x7f\x85\u2028\u2029\u00e4\U0001f50c"
    value = msgspec.json.encode({"charge_point_id": "CP-1", "info": text, "token_key": "9f2c"})
    told = Told(Stored("t", 0, 0, 0, b"k", value, STARTED))
    for data in (told.data, told.masked):
        assert len(data.decode().splitlines()) == 1
        assert msgspec.json.decode(data)["data"]["info"] == text
