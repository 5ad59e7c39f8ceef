"""Whatever was read, said or set, a session ends: its CDR is one that OCPI allows, or it is withheld until what
stands in its way is mended."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from commands.base import Accepted, Command, Refusal, Rejected
from commands.session import (
    ROUTES,
    EndSession,
    IssueCdr,
    Issuing,
    RecordConnector,
    RecordUsage,
)
from domain.metering.usable import CURRENT_A, POWER_W, REGISTER_WH
from domain.pricing import PricingError, check_cdr, to_json
from domain.pricing.selection import zone_of
from domain.session import (
    AGGREGATE_EVENTS,
    CdrIssued,
    CdrWithheld,
    End,
    EndCorrected,
    ReadingsRefused,
    Session,
    SessionEnded,
    SessionMended,
    SessionStarted,
    UsageRecorded,
    replacement_id,
)
from domain.values import Coordinates, PartyId, RegisterSample, Settings, Site, plain_json
from protocols.ocpi import parse, v2_3_0
from tests.commands.decide import Decide
from tests.commands.test_session import (
    TARIFF,
    at,
    cdr,
    end_command,
    names,
    run,
    start_command,
    usage,
)
from tests.domain.pricing.strategies import tariffs
from tests.laws import tried

TOKEN = {"country_code": "NL", "party_id": "MSP", "uid": "0A1B", "type": "RFID", "contract_id": "NL-MSP-1"}
SITE = Site(
    id="L1",
    name="Depot",
    address="Weg 1",
    city="Berlin",
    country="DEU",
    coordinates=Coordinates(latitude="52.50000", longitude="13.40000"),
    time_zone="Europe/Berlin",
)
OURS = Settings(party=PartyId(country_code="DE", party_id="DMO"))


def site(**changes: Any) -> Site:
    return msgspec.structs.replace(SITE, **changes)


def sample(minutes: float, wh: str | int, **more: Any) -> RegisterSample:
    return RegisterSample(at=at(minutes), energy_wh=Decimal(wh), **more)


def relay(*samples: RegisterSample) -> RecordUsage:
    return RecordUsage(session_id="s1", samples=samples)


def issue(**changes: Any) -> IssueCdr:
    values: dict[str, Any] = {
        "session_id": "s1",
        "tenant": "demo",
        "settings": OURS,
        "site": SITE,
        "evse_uid": "CP1-1",
        "evse_id": "DE*DMO*E1",
        "connector": start_command().connector,
        "tariffs": (TARIFF,),
        "by": "tenant_admin:ann",
        "note": "mended",
    }
    return IssueCdr(**values | changes)


def charge(**start: Any) -> Decide:
    """One of 20 kWh in half an hour, that has ended."""
    case = Decide(Session, AGGREGATE_EVENTS, ROUTES)
    return case.do(start_command(**start)).do(usage((10, 9000))).do(end_command(30, 21000))


def withheld(events: list[Any]) -> CdrWithheld:
    [found] = [event for event in events if isinstance(event, CdrWithheld)]
    return found


def result(case: Decide) -> Issuing:
    assert isinstance(case.outcome, Accepted) and isinstance(case.outcome.reply, Issuing)
    return case.outcome.reply


def valid(body: dict[str, Any], time_zone: str) -> None:
    """By the types of OCPI 2.3.0, and by its own numbers."""
    parse(v2_3_0.CDR, msgspec.json.encode({**body, "cdr_token": TOKEN}))
    check = check_cdr(body, time_zone)
    assert check.equal, check.differences


# -- any input -----------------------------------------------------------------------------------------------


def mostly(usual: st.SearchStrategy[Any], *other: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """One in eight is anything else that the type allows."""
    return st.integers(0, 7).flatmap(lambda n: usual if n else st.one_of(*other))


TIMES = mostly(
    st.integers(0, 300).map(at),
    st.datetimes(timezones=st.just(UTC)),
    st.sampled_from(
        [
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(1969, 12, 31, 23, 59, 59, tzinfo=UTC),
            datetime(9001, 1, 1, tzinfo=UTC),
            datetime(9500, 6, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        ]
    ),
)
WHOLE = mostly(
    st.integers(900, 60_000), st.integers(-(2**63), 2**63 - 1), st.sampled_from([10**12, 10**15, -1, 0])
)
NUMBERS = mostly(
    st.integers(900, 60_000).map(Decimal),
    st.decimals(),
    st.sampled_from(
        [
            Decimal("1234567890123456789012345678"),
            Decimal("12300.000000000001"),
            Decimal(10**15),
            Decimal("1E+90"),
            Decimal("1E-90"),
            Decimal("-5"),
            Decimal("999999999999.9999"),
        ]
    ),
)
OFFSETS = mostly(st.sampled_from([0, 0, 0, 45, 3600, -7200]), st.integers(-(10**18), 10**18))
TEXTS = st.text(max_size=60)
SAMPLES = st.lists(
    st.builds(
        RegisterSample,
        at=TIMES,
        energy_wh=NUMBERS,
        power_w=st.none() | NUMBERS,
        current_a=st.none() | NUMBERS,
    ),
    max_size=8,
).map(tuple)
DEGREES = st.sampled_from(["52.5", "52.50000", "13", "91.00000", "52.123456789", "north", ""]) | TEXTS
SITES = mostly(
    st.just(SITE),
    st.builds(
        Site,
        id=st.just("L1") | TEXTS,
        name=TEXTS,
        address=st.text(max_size=90),
        city=TEXTS,
        postal_code=st.just("") | TEXTS,
        country=st.sampled_from(["DEU", "", "DE", "deu"]) | TEXTS,
        coordinates=st.none() | st.builds(Coordinates, latitude=DEGREES, longitude=DEGREES),
        time_zone=st.sampled_from(["Europe/Berlin", "UTC", "", "Mars/Olympus", "../etc/passwd", "\x00"])
        | TEXTS,
    ),
)
SETTINGS = mostly(
    st.just(OURS),
    st.builds(
        Settings,
        party=st.just(OURS.party) | st.builds(PartyId, country_code=TEXTS, party_id=TEXTS),
        currency=st.sampled_from(["EUR", "eur", "", "EURO"]),
        time_zone=st.sampled_from(["UTC", "nowhere"]),
    ),
)
PRICED = tariffs(reservation=False).map(lambda tariff: plain_json(to_json(tariff)))
FOREVER = {**TARIFF, "id": "T9", "end_date_time": "9999-12-31T23:59:59Z"}
JUNK = st.dictionaries(TEXTS, st.none() | st.integers() | TEXTS, max_size=3)
TARIFFS = st.lists(
    PRICED
    | st.just(TARIFF)
    | st.just(FOREVER)
    | st.just({**TARIFF, "id": "SWISS", "currency": "CHF", "type": "REGULAR"})
    | st.just({**TARIFF, "id": "T" * 60})
    | JUNK,
    max_size=3,
).map(
    lambda found: tuple(
        {**one, "id": f"{one['id']}{i}"} if "id" in one else one for i, one in enumerate(found)
    )
)
ENDS = st.builds(
    End,
    at=TIMES,
    meter_stop=st.none() | WHOLE,
    clock_offset_s=OFFSETS,
    assumed=st.booleans(),
    flags=st.lists(TEXTS, max_size=2).map(tuple),
)
STARTS = st.builds(
    start_command,
    status=mostly(st.just("Accepted"), st.just("Blocked")),
    start=TIMES,
    meter_start=WHOLE,
    clock_offset_s=OFFSETS,
    site=SITES,
    settings=SETTINGS,
    tariffs=TARIFFS,
    evse_uid=mostly(st.just("CP1-1"), TEXTS),
    evse_id=mostly(st.just("DE*DMO*E1"), TEXTS),
    connector=st.none() | st.just(start_command().connector),
)
BETWEEN = st.lists(
    st.builds(RecordUsage, session_id=st.just("s1"), samples=SAMPLES, clock_offset_s=OFFSETS)
    | st.builds(
        RecordConnector,
        session_id=st.just("s1"),
        at=TIMES,
        status=st.sampled_from(["Charging", "SuspendedEV", "Finishing"]),
        clock_offset_s=OFFSETS,
    ),
    max_size=5,
)
ENDINGS = st.lists(
    st.builds(EndSession, session_id=st.just("s1"), end=ENDS, samples=SAMPLES), min_size=1, max_size=3
)
ISSUES = st.lists(
    st.builds(
        issue,
        settings=SETTINGS,
        site=st.none() | SITES,
        tariffs=TARIFFS,
        energy_wh=st.none() | WHOLE,
        ended_at=st.none() | TIMES,
    ),
    max_size=2,
)


@st.composite
def stories(draw: st.DrawFn) -> list[Command]:
    """A start, what came meanwhile, ends that are surer and surer, and what was tried after them."""
    start: list[Command] = [draw(STARTS)]
    rest: list[Command] = [*draw(BETWEEN), *draw(ENDINGS), *draw(ISSUES)]
    if draw(st.integers(0, 5)) == 0:
        place = draw(st.integers(0, len(rest)))
        return rest[:place] + start + rest[place:]
    return start + rest


def decided(commands: list[Command]) -> tuple[Session, list[Any]]:
    """As by the decider: through the log's JSON, and the state is the fold of the events."""
    case = Decide(Session, AGGREGATE_EVENTS, ROUTES)
    for command in commands:
        case.do(command)
    assert isinstance(case.aggregate, Session)
    return case.aggregate, case.history


@settings(max_examples=tried(200), deadline=None)
@given(stories())
def test_whatever_comes_the_session_ends_with_a_cdr_that_ocpi_allows_or_with_one_withheld(
    commands: list[Command],
) -> None:
    session, events = decided(commands)

    state = session.state
    assert state.ended_at is not None
    issued = [event for event in events if isinstance(event, CdrIssued)]
    standing = {event.cdr_id for event in issued} - {event.cdr.get("credit_reference_id") for event in issued}
    bills = [id for id in standing if not id.endswith("-C1")]
    if state.status == "INVALID":
        assert not issued and state.withheld is None
    else:
        assert len(bills) + (state.withheld is not None) == 1
    assert len({event.cdr_id for event in issued}) == len(issued)
    zones = {
        event.site.time_zone or event.settings.time_zone
        for event in events
        if isinstance(event, SessionStarted | SessionMended)
    }
    for event in issued:
        parse(v2_3_0.CDR, msgspec.json.encode({**event.cdr, "cdr_token": TOKEN}))
        assert any(check_cdr(event.cdr, zone).equal for zone in zones if known(zone)), event.cdr


def known(time_zone: str) -> bool:
    try:
        zone_of(time_zone)
    except PricingError:
        return False
    return True


# -- the end -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "meter_stop", "minutes", "field", "value"),
    [
        ({}, 10**15, 30, "meter_stop", str(10**15)),
        ({"meter_start": -(10**15)}, 21000, 30, "meter_start", str(-(10**15))),
        ({}, 21000, 3_930_000_000, "end_date_time", "9498-05-16T02:00:00+00:00"),
        ({"site": site(time_zone="Mars/Olympus")}, 21000, 30, "time_zone", "Mars/Olympus"),
        ({"site": site(country="DE")}, 21000, 30, "cdr_location.country", "DE"),
        (
            {"site": site(postal_code="D-10115 Berlin")},
            21000,
            30,
            "cdr_location.postal_code",
            "D-10115 Berlin",
        ),
        (
            {"site": site(coordinates=Coordinates(latitude="north", longitude="13.40000"))},
            21000,
            30,
            "cdr_location.coordinates.latitude",
            "north",
        ),
        ({"evse_uid": ""}, 21000, 30, "cdr_location.evse_uid", ""),
        (
            {"settings": Settings(party=OURS.party, currency="EURO"), "tariffs": ()},
            21000,
            30,
            "currency",
            "EURO",
        ),
        (
            {"settings": Settings(party=PartyId(country_code="DEU", party_id="DMO"))},
            21000,
            30,
            "country_code",
            "DEU",
        ),
        ({"tariffs": ({**TARIFF, "id": "T" * 37},)}, 21000, 30, "tariffs[0].id", "T" * 37),
        (
            {
                "tariffs": (
                    {**TARIFF, "id": "A", "start_date_time": "2026-03-02T10:20:00Z", "currency": "CHF"},
                    {**TARIFF, "id": "B", "end_date_time": "2026-03-02T10:20:00Z"},
                )
            },
            21000,
            30,
            "tariffs[0].currency",
            "CHF",
        ),
    ],
)
def test_an_end_without_a_cdr_that_ocpi_allows_ends_the_session_and_says_which_field(
    changes: dict[str, Any], meter_stop: int, minutes: float, field: str, value: str
) -> None:
    case = Decide(Session, AGGREGATE_EVENTS, ROUTES)
    case.do(start_command(**changes)).do(usage((10, 9000))).do(end_command(minutes, meter_stop))

    ended, refused = case.new
    assert isinstance(ended, SessionEnded) and isinstance(refused, CdrWithheld)
    assert (ended.status, ended.meter_stop) == ("COMPLETED", meter_stop)
    assert (refused.cdr_id, refused.field, refused.value) == ("s1", field, value)
    assert refused.reason and "\n" not in refused.reason
    assert case.aggregate is not None and case.aggregate.state.samples
    assert isinstance(case.do(usage((40, 22000))).outcome, Rejected), "it has ended"


def test_the_energy_of_an_end_that_cannot_be_priced_is_that_of_the_readings() -> None:
    _, events = run(start_command(), usage((10, 9000)), end_command(30, 10**15))
    [ended] = [event for event in events if isinstance(event, SessionEnded)]
    assert (ended.energy_wh, ended.total_cost) == (Decimal(8000), None)


def test_an_end_whose_cdr_alone_is_invalid_has_its_price() -> None:
    """Vector 2 of the standard: 20 kWh cost 5.50 before taxes."""
    _, events = run(start_command(evse_uid=""), end_command(30, 21000))
    [ended] = [event for event in events if isinstance(event, SessionEnded)]
    assert ended.total_cost is not None and ended.total_cost["before_taxes"] == 5.5


def test_an_end_that_was_held_is_withheld_likewise() -> None:
    _, events = run(end_command(30, 10**15), start_command())
    assert names(events) == ["end_held", "started", "ended", "cdr_withheld"]


def test_a_session_that_is_invalid_ends_without_a_cdr_whatever_it_used() -> None:
    _, events = run(start_command("Blocked"), end_command(30, 10**15))
    assert names(events) == ["started", "ended"]


def test_a_tariff_that_ends_in_the_year_9999_prices() -> None:
    forever = {**TARIFF, "start_date_time": "0001-01-01T00:00:00Z", "end_date_time": "9999-12-31T23:59:59Z"}
    _, events = run(start_command(tariffs=(forever,)), usage((10, 9000)), end_command(30, 21000))
    assert cdr(events)["total_cost"]["before_taxes"] == 5.5


def test_degrees_with_few_decimals_are_the_same_degrees_with_five() -> None:
    place = site(coordinates=Coordinates(latitude="52.5", longitude="13"))
    _, events = run(start_command(site=place), end_command(30, 21000))
    assert cdr(events)["cdr_location"]["coordinates"] == {"latitude": "52.50000", "longitude": "13.00000"}


# -- a relay -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        {"energy_wh": REGISTER_WH},
        {"energy_wh": -REGISTER_WH},
        {"energy_wh": Decimal("NaN")},
        {"at": datetime(9500, 1, 1, tzinfo=UTC)},
    ],
)
def test_a_reading_that_no_meter_holds_is_dropped_and_the_charge_goes_on_without_it(
    sent: dict[str, Any],
) -> None:
    odd = msgspec.structs.replace(sample(15, 12000), **sent)
    _, events = run(
        start_command(), relay(sample(10, 9000), odd), relay(sample(20, 15000)), end_command(30, 21000)
    )

    assert names(events) == [
        *("started", "readings_refused", "usage_recorded", "usage_recorded", "ended", "cdr_issued")
    ]
    [refused] = [event for event in events if isinstance(event, ReadingsRefused)]
    assert (refused.count, refused.field) == (1, "timestamp" if "at" in sent else "energy_wh")
    recorded = [event for event in events if isinstance(event, UsageRecorded)]
    assert [(one.energy_wh, len(one.samples)) for one in recorded] == [
        (Decimal(8000), 1),
        (Decimal(14000), 1),
    ]
    assert recorded[-1].total_cost is not None and recorded[-1].total_cost["before_taxes"] == 4
    [ended] = [event for event in events if isinstance(event, SessionEnded)]
    assert ended.flags == ("unusable_reading",)
    assert cdr(events)["total_energy"] == 20


@pytest.mark.parametrize(("name", "value"), [("power_w", POWER_W), ("current_a", CURRENT_A)])
def test_a_power_or_current_that_no_meter_holds_is_left_out_of_its_reading(name: str, value: Decimal) -> None:
    _, events = run(start_command(), relay(sample(10, 9000, **{name: value})))
    [refused] = [event for event in events if isinstance(event, ReadingsRefused)]
    [recorded] = [event for event in events if isinstance(event, UsageRecorded)]
    assert refused.field == name
    assert recorded.samples == (sample(10, 9000),)


def test_a_current_of_28_digits_is_taken_to_a_thousandth() -> None:
    current = Decimal("16.12345678901234567890123456")
    _, events = run(start_command(), relay(sample(10, 9000, current_a=current)), end_command(30, 21000))
    [recorded] = [event for event in events if isinstance(event, UsageRecorded)]
    assert recorded.samples[0].current_a == Decimal("16.123")
    assert "cdr_issued" in names(events)


def test_a_relay_that_has_no_price_says_its_energy() -> None:
    case = Decide(Session, AGGREGATE_EVENTS, ROUTES)
    case.do(start_command(site=site(time_zone="Mars/Olympus")))
    [recorded] = case.do(usage((10, 9000))).new
    assert isinstance(recorded, UsageRecorded)
    assert (recorded.energy_wh, recorded.total_cost) == (Decimal(8000), None)


def test_what_cannot_be_judged_is_kept_in_bounds() -> None:
    case = Decide(Session, AGGREGATE_EVENTS, ROUTES)
    case.do(start_command(site=site(time_zone="Mars/Olympus")))
    for first in range(0, 1500, 500):
        case.do(relay(*(sample(first + n, 1000 + first + n) for n in range(500))))
    assert case.aggregate is not None and len(case.aggregate.state.samples) == 1000


# -- issued again --------------------------------------------------------------------------------------------


def test_a_withheld_cdr_is_issued_once_the_master_data_are_mended() -> None:
    case = charge(site=site(time_zone="Mars/Olympus"), tariffs=())
    case.do(issue())

    mended, issued = case.new
    assert isinstance(mended, SessionMended) and isinstance(issued, CdrIssued)
    assert (mended.by, mended.note) == ("tenant_admin:ann", "mended")
    assert (issued.cdr_id, issued.was_withheld) == ("s1", True)
    assert issued.cdr["total_cost"]["before_taxes"] == 5.5
    valid(issued.cdr, "Europe/Berlin")
    assert result(case) == Issuing(cdr_id="s1")
    assert case.aggregate is not None and not case.aggregate.state.samples


def test_asked_again_it_is_the_same_cdr() -> None:
    case = charge(evse_uid="").do(issue())
    assert result(case.do(issue())) == Issuing(cdr_id="s1")
    assert case.new == []


def test_what_still_stands_in_the_way_is_said_and_repeated_without_a_fact() -> None:
    case = charge(site=site(time_zone="Mars/Olympus"))
    wrong = issue(site=site(country="DE"))

    mended, again = case.do(wrong).new
    assert isinstance(mended, SessionMended) and isinstance(again, CdrWithheld)
    assert again.field == "cdr_location.country"
    assert result(case) == Issuing(cdr_id="s1", field="cdr_location.country", value="DE", reason=again.reason)
    assert case.do(wrong).new == []
    assert result(case).field == "cdr_location.country"
    assert result(case.do(issue())) == Issuing(cdr_id="s1")


def test_the_energy_of_a_stop_that_no_meter_holds_is_given_by_hand() -> None:
    """Vector 2 of the standard: 20 kWh cost 5.50 before taxes."""
    case = Decide(Session, AGGREGATE_EVENTS, ROUTES)
    case.do(start_command()).do(usage((10, 9000))).do(end_command(30, 10**15))
    assert result(case.do(issue())).field == "meter_stop"

    _, issued = case.do(issue(energy_wh=20_000)).new
    assert isinstance(issued, CdrIssued)
    assert (issued.cdr["total_energy"], issued.cdr["total_cost"]["before_taxes"]) == (20, 5.5)
    assert "the energy of 20000 Wh was given by hand" in issued.cdr["remark"]
    valid(issued.cdr, "Europe/Berlin")


def test_an_end_in_the_year_9500_is_given_by_hand() -> None:
    case = Decide(Session, AGGREGATE_EVENTS, ROUTES)
    late = EndSession(session_id="s1", end=End(at=datetime(9500, 1, 1, tzinfo=UTC), meter_stop=21000))
    case.do(start_command()).do(usage((10, 9000))).do(late)
    assert result(case.do(issue())).field == "end_date_time"

    _, issued = case.do(issue(ended_at=at(30))).new
    assert isinstance(issued, CdrIssued)
    assert issued.cdr["end_date_time"] == "2026-03-02T10:30:00Z"
    assert "flagged: end_by_hand" in issued.warnings


def test_without_its_charge_point_it_is_issued_where_it_was() -> None:
    case = charge(settings=Settings(party=PartyId(country_code="DEU", party_id="DMO")))
    _, issued = case.do(issue(site=None)).new
    assert isinstance(issued, CdrIssued)
    assert (issued.cdr["cdr_location"]["id"], issued.cdr["total_cost"]["before_taxes"]) == ("L1", 5.5)


@pytest.mark.parametrize(
    ("commands", "asked", "refusal"),
    [
        ([], issue(), Refusal.UNKNOWN),
        ([start_command()], issue(tenant="other"), Refusal.UNKNOWN),
        ([start_command()], issue(), Refusal.NOT_ALLOWED),
        ([start_command("Blocked"), end_command(30, 21000)], issue(), Refusal.NOT_ALLOWED),
        ([start_command(evse_uid=""), end_command(30, 21000)], issue(energy_wh=-1), Refusal.INVALID),
        ([start_command(evse_uid=""), end_command(30, 21000)], issue(energy_wh=10**12), Refusal.INVALID),
    ],
)
def test_what_has_no_withheld_cdr_is_refused(
    commands: list[Command], asked: IssueCdr, refusal: Refusal
) -> None:
    case = Decide(Session, AGGREGATE_EVENTS, ROUTES)
    for command in commands:
        case.do(command)
    assert case.do(asked).refusal is refusal
    assert case.new == []


# -- a corrected end -----------------------------------------------------------------------------------------


def superseded(minutes: float) -> EndSession:
    return EndSession(session_id="s1", end=End(at=at(minutes), reason="Other"))


def test_a_correction_that_cannot_be_priced_credits_what_was_issued_and_is_withheld() -> None:
    case = Decide(Session, AGGREGATE_EVENTS, ROUTES)
    case.do(start_command()).do(usage((10, 9000))).do(superseded(10)).do(end_command(30, 10**15))

    corrected, credit, refused = case.new
    assert (
        isinstance(corrected, EndCorrected)
        and isinstance(credit, CdrIssued)
        and isinstance(refused, CdrWithheld)
    )
    assert credit.cdr["credit_reference_id"] == "s1"
    assert refused.cdr_id == replacement_id("s1")
    _, issued = case.do(issue(energy_wh=20_000)).new
    assert isinstance(issued, CdrIssued)
    assert (issued.cdr_id, issued.cdr["total_energy"]) == (replacement_id("s1"), 20)


def test_the_true_end_of_a_withheld_one_issues_its_cdr_under_its_id() -> None:
    _, events = run(
        start_command(),
        usage((10, 9000)),
        EndSession(session_id="s1", end=End(at=at(20), meter_stop=10**15, assumed=True)),
        end_command(30, 21000),
    )
    assert names(events)[-4:] == ["ended", "cdr_withheld", "end_corrected", "cdr_issued"]
    assert cdr(events)["id"] == "s1"


def test_a_cdr_that_was_credited_is_not_credited_again() -> None:
    _, events = run(
        start_command(),
        usage((10, 9000)),
        superseded(10),
        EndSession(session_id="s1", end=End(at=at(20), meter_stop=10**15, assumed=True)),
        end_command(30, 21000),
    )
    assert names(events)[-7:] == [
        *("ended", "cdr_issued", "end_corrected", "cdr_issued", "cdr_withheld", "end_corrected", "cdr_issued")
    ]
    assert [event.cdr_id for event in events if isinstance(event, CdrIssued)] == [
        *("s1", "s1-C1", replacement_id("s1"))
    ]
