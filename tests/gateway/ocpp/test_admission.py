"""Handshakes: who gets in, who does not and with which HTTP status; and how connections end."""

from __future__ import annotations

import asyncio
import base64
import threading
from dataclasses import replace
from ipaddress import ip_network
from typing import Any

import msgspec
import pytest
from websockets.exceptions import InvalidStatus

from application.ports import RegisteredChargePoint
from commands.base import Meta
from commands.charge_point import Boot, Connect, OfferCredentials, Register, Remove
from domain.charge_point import (
    ChargePointBooted,
    ChargePointConnected,
    ChargePointDisconnected,
    ChargePointRegistered,
    CredentialsSet,
)
from domain.charge_point.passwords import hash_password, verify_password
from domain.knocking import HandshakesRefused
from domain.values import UNASSIGNED, Site
from gateway.ocpp.client_address import Proxies
from gateway.ocpp.credentials import Credentials
from tests.gateway.ocpp.fakes import NOON, PASSWORD, QUICK, SITE, World, eventually, world

BEHIND = replace(QUICK, proxies=Proxies([ip_network("127.0.0.0/8"), ip_network("10.0.0.0/8")]))
"""Options of a gateway behind balancers."""


async def handshake(w: World, id: str, forwarded: str = "") -> tuple[int, str]:
    """Status and Retry-After of a handshake without a password that may be taken."""
    try:
        async with w.connected(id, password=None, forwarded=forwarded):
            return 101, ""
    except InvalidStatus as refusal:
        return refusal.response.status_code, refusal.response.headers.get("Retry-After", "")


async def refused(w: World, **how: Any) -> tuple[int, str]:
    """Status of a refused handshake, and its Retry-After or WWW-Authenticate."""
    with pytest.raises(InvalidStatus) as caught:
        async with w.connected(**how):
            pass
    response = caught.value.response
    headers = response.headers
    return response.status_code, headers.get("Retry-After") or headers.get("WWW-Authenticate") or ""


def assert_put_off(answer: tuple[int, str]) -> None:
    """503, to be tried again after 10 to 20 s: not by all at once."""
    status, retry_after = answer
    assert status == 503
    assert 10 <= int(retry_after) <= 20


@pytest.mark.parametrize(
    "how",
    [
        {"id": "CP-9"},
        {"path": "/ocpp/nobody/CP-1"},
        {"path": "/ocpp/demo/"},
        {"path": "/ocpp/demo/CP-1/more"},
        {"path": "/ocpp/DEMO/CP-1"},
        {"path": "/ocpp/CP-9"},
        {"path": "/ocpp/demo/%FF"},
        {"path": "/ocpp/demo/" + "x" * 49},
        {"path": "/"},
        {"id": "CP-9", "password": None},
    ],
)
async def test_an_unknown_charge_point_or_tenant_is_not_found_J_03(how: dict[str, Any]) -> None:
    async with world() as w:
        assert await refused(w, **how) == (404, "")
        assert not w.bus.all(ChargePointConnected)


@pytest.mark.parametrize(
    "how",
    [
        {"password": "wrong"},
        {"password": None},
        {"user": "CP-2"},
        {"password": b"\xff\xfe\x00"},
        {"password": ""},
    ],
)
async def test_wrong_or_missing_credentials_are_unauthorized_SEC_01(how: dict[str, Any]) -> None:
    async with world() as w:
        status, challenge = await refused(w, **how)
        assert status == 401
        assert challenge.startswith("Basic realm=")
        assert not w.bus.all(ChargePointConnected)


@pytest.mark.parametrize("password", [PASSWORD, PASSWORD.upper(), bytes.fromhex(PASSWORD)])
async def test_the_key_may_come_as_hex_digits_or_as_their_bytes_SEC_02_TC_085(password: str | bytes) -> None:
    async with world() as w, w.connected(password=password) as cp:
        assert (await cp.boot())["status"] == "Accepted"


async def test_a_charge_point_without_a_password_needs_none_SEC_00() -> None:
    async with world() as w:
        await w.charge_point("OPEN", password="")
        async with w.connected("OPEN", password=None) as cp:
            assert (await cp.boot())["status"] == "Accepted"


async def test_the_identity_is_percent_decoded_once_J_01() -> None:
    async with world() as w:
        await w.charge_point("RDAM 1%20/3")
        async with w.connected("RDAM 1%20/3", path="/ocpp/demo/RDAM%201%2520%2F3") as cp:
            assert (await cp.boot())["status"] == "Accepted"


async def test_a_new_charge_point_finds_its_tenant_by_the_prefix_of_its_id() -> None:
    async with world() as w:
        w.tenant("acme", id_prefix="ACME-", auto_register=True)
        async with w.connected("ACME-7", path="/ocpp/ACME-7"):
            assert w.state("ACME-7", "acme").connection is not None


async def test_a_charge_point_that_is_registered_stays_where_it_is_whatever_prefix_another_tenant_has() -> (
    None
):
    async with world() as w:
        w.tenant("evil", id_prefix="CP-1", auto_register=True)
        async with w.connected(path="/ocpp/CP-1"):
            assert w.state().connection is not None
        assert not w.state(tenant="evil").provisioned


async def test_an_id_that_two_tenants_know_is_not_let_in_without_its_tenant() -> None:
    async with world() as w:
        w.tenant("acme")
        await w.charge_point("CP-1", tenant="acme", password="")
        assert (await refused(w, path="/ocpp/CP-1"))[0] == 404
        async with w.connected():
            pass


async def test_the_same_id_in_two_tenants_is_two_charge_points() -> None:
    async with world() as w:
        w.tenant("acme")
        await w.charge_point("CP-1", tenant="acme", password="another secret")
        async with w.connected(), w.connected(path="/ocpp/acme/CP-1", password="another secret") as cp:
            assert (await cp.boot())["status"] == "Accepted"
            assert w.state(tenant="demo").registration is None
        assert (await refused(w, path="/ocpp/acme/CP-1"))[0] == 401


async def test_an_unknown_id_is_taken_in_where_the_tenant_wants_it_and_its_first_password_kept() -> None:
    async with world() as w:
        w.tenant(auto_register=True, default_location=SITE)
        async with w.connected("NEW-1", password="first password") as cp:
            assert (await cp.boot())["status"] == "Accepted"
        assert [type(event) for event in w.bus.log[-4:]] == [
            ChargePointRegistered,
            CredentialsSet,
            ChargePointConnected,
            ChargePointBooted,
        ]
        assert [type(command) for command in w.bus.told[-2:]] == [Connect, Boot], "two decisions"
        event = w.bus.all(ChargePointRegistered)[-1]
        assert (event.automatic, event.site) == (True, SITE)
        assert "first password" not in w.bus.all(CredentialsSet)[-1].password_hash
        assert (await refused(w, id="NEW-1", password="second"))[0] == 401
        async with w.connected("NEW-1", password="first password"):
            pass


async def test_an_id_with_a_space_or_of_any_script_is_taken_in_and_one_that_no_url_of_ours_carries_is_not_J_01() -> (
    None
):
    async with world() as w:
        w.tenant(auto_register=True, default_location=SITE)
        for id, path in (("RDAM 123", "RDAM%20123"), ("Säule 5€", "S%C3%A4ule%205%E2%82%AC")):
            async with w.connected(id, path=f"/ocpp/demo/{path}", password=None) as cp:
                assert (await cp.boot())["status"] == "Accepted"
        assert (await refused(w, id="A/B", path="/ocpp/demo/A%2FB"))[0] == 404
        assert [event.charge_point_id for event in w.bus.all(ChargePointRegistered)] == [
            "CP-1",
            "RDAM 123",
            "Säule 5€",
        ]


async def test_a_tenant_takes_in_no_more_than_it_may_have() -> None:
    async with world() as w:
        w.tenant(auto_register=True, default_location=SITE)
        w.quota.left["demo"] = 1
        async with w.connected("NEW-1"):
            pass
        assert (await refused(w, id="NEW-2"))[0] == 404
        async with w.connected("NEW-1"), w.connected("CP-1"):
            pass


async def test_while_the_log_does_not_say_whether_there_is_room_a_stranger_is_put_off() -> None:
    async with world() as w:
        w.tenant(auto_register=True)
        w.quota.silent = True
        assert_put_off(await refused(w, id="NEW-1"))
        async with w.connected("CP-1"):
            pass


async def test_without_a_default_location_a_stranger_is_taken_in_at_no_place() -> None:
    async with world() as w:
        w.tenant(auto_register=True)
        async with w.connected("NEW-1"):
            pass
        assert w.bus.all(ChargePointRegistered)[-1].site == Site(id=UNASSIGNED)


async def test_a_stranger_sets_no_password_of_a_charge_point_that_was_connected_without_one() -> None:
    async with world() as w:
        w.tenant(auto_register=True, default_location=SITE)
        async with w.connected("NEW-1", password=None), w.connected("NEW-1", password="stolen"):
            assert not [event for event in w.bus.all(CredentialsSet) if "NEW-1" in event.originator_id]
        async with w.connected("NEW-1", password=None) as cp:
            assert (await cp.boot())["status"] == "Accepted"


async def test_the_first_password_of_one_that_never_came_is_kept_and_no_second_one() -> None:
    async with world() as w:
        w.tenant(auto_register=True)
        register = Register(tenant="demo", charge_point_id="NEW-1", site=SITE, automatic=True)
        await w.bus.ask(register, Meta(command_id="r", at=NOON))
        w.directory.learn("demo", RegisteredChargePoint(charge_point_id="NEW-1", automatic=True, new=True))
        async with w.connected("NEW-1", password="mine"):
            pass
        w.directory.learn(
            "demo", RegisteredChargePoint(charge_point_id="NEW-1", automatic=True, new=True)
        )  # read too early
        assert_put_off(await refused(w, id="NEW-1", password="stolen"))
        assert verify_password(b"mine", w.state("NEW-1").password_hash)


async def test_an_id_that_was_registered_meanwhile_is_not_let_in_by_auto_register() -> None:
    async with world() as w:
        w.tenant(auto_register=True, default_location=SITE)
        del w.directory.listed[("demo", "CP-1")]
        assert_put_off(await refused(w, password="stolen"))
        assert not w.bus.all(ChargePointConnected)


async def test_without_a_common_subprotocol_nobody_is_taken_in() -> None:
    async with world() as w:
        w.tenant(auto_register=True, default_location=SITE)
        async with w.connected("NEW-1", subprotocols=["ocpp2.0.1"]) as cp:
            assert (await cp.closed())[0] == 1002
        assert [event.charge_point_id for event in w.bus.all(ChargePointRegistered)] == ["CP-1"]


async def test_a_login_that_shows_which_password_it_took_is_one_decision_SEC_03() -> None:
    async with world() as w:
        new = hash_password(b"new password", bytes(16))
        offer = OfferCredentials(tenant="demo", charge_point_id="CP-1", password_hash=new)
        await w.bus.ask(offer, Meta(command_id="offer", at=NOON))
        listed = w.directory.listed[("demo", "CP-1")]
        w.directory.learn("demo", msgspec.structs.replace(listed, alternative_hash=new))
        async with w.connected(password="new password"):
            assert (w.state().password_hash, w.state().alternative_hash) == (new, "")
            assert [type(command) for command in w.bus.told[-2:]] == [OfferCredentials, Connect]
        assert (await refused(w))[0] == 401


async def test_the_system_calls_those_that_connect_together_one_after_another() -> None:
    async with world() as w:
        for number in range(25):
            await w.charge_point(f"H-{number}", password="")
        for number in range(25):
            async with w.connected(f"H-{number}", password=None):
                pass
        quiet = [event.quiet_s for event in w.bus.all(ChargePointConnected)]
        assert quiet == sorted(quiet)
        assert (quiet[0], quiet[-1]) in {(0, 1), (0, 2)}


async def test_a_crowd_waits_for_its_turn_and_who_would_wait_too_long_is_told_when_to_come_back() -> None:
    async with world(replace(QUICK, most_handshakes=2, handshake_patience=5.0)) as w:
        ids = [f"H-{number}" for number in range(80)]
        for id in ids:
            await w.charge_point(id, password="")
        w.bus.slow[Connect] = 0.3
        answers = await asyncio.gather(*(handshake(w, id) for id in ids))
        statuses = [status for status, _ in answers]
        assert set(statuses) == {101, 503}
        assert statuses.count(101) == 64 + 2
        assert all(10 <= int(seconds) <= 13 for status, seconds in answers if status == 503)


@pytest.mark.parametrize("offered", [["ocpp2.0.1", "ocpp1.6"], ["ocpp1.6", "ocpp1.5"]])
async def test_ocpp16_is_chosen_among_others_J_04(offered: list[str]) -> None:
    async with world() as w, w.connected(subprotocols=offered) as cp:
        assert cp.socket.subprotocol == "ocpp1.6"


@pytest.mark.parametrize("offered", [["ocpp2.0.1"], None])
async def test_without_a_common_subprotocol_the_socket_opens_and_closes_at_once_J_04(
    offered: list[str] | None,
) -> None:
    async with world() as w, w.connected(subprotocols=offered) as cp:
        assert cp.socket.subprotocol is None
        assert (await cp.closed())[0] == 1002
        assert not w.bus.all(ChargePointConnected)


async def test_a_tenant_may_take_a_missing_subprotocol_for_ocpp16_J_05() -> None:
    async with world() as w:
        w.tenant(assume_ocpp16=True)
        async with w.connected(subprotocols=None) as cp:
            assert (await cp.boot())["status"] == "Accepted"


async def test_the_second_connection_of_a_charge_point_wins_J_20() -> None:
    async with world() as w, w.connected() as first:
        await first.boot()
        async with w.connected() as second:
            assert await first.closed() == (1001, "replaced")
            assert (await second.call("Heartbeat", {}))["currentTime"]
            epochs = [event.originator_version for event in w.bus.all(ChargePointConnected)]
            assert w.state().connection.epoch == epochs[-1]
            assert not w.bus.all(ChargePointDisconnected)
            assert len(w.gateway.registry) == 1
        await w.bus.until(ChargePointDisconnected)


async def test_a_handshake_that_the_log_takes_after_the_next_one_leaves_that_one_connected_J_20() -> None:
    async with world() as w:
        w.bus.late = Connect
        assert_put_off(await refused(w))
        w.bus.late = None
        w.gateway._services.health.answered()
        w.clock.move(0.3)
        async with w.connected():
            [(given_up, meta)] = w.bus.stuck
            await w.bus.ask(given_up, meta)
            [held] = w.gateway.registry
            assert w.state().connection.epoch == held.epoch


async def test_a_stranger_cannot_evict_a_charge_point_J_20() -> None:
    async with world() as w, w.connected() as cp:
        assert (await refused(w, password="guess"))[0] == 401
        assert "currentTime" in await cp.call("Heartbeat", {})


async def test_two_devices_with_one_id_are_held_off_J_20() -> None:
    async with world(replace(QUICK, evictions=2)) as w, w.connected(), w.connected(), w.connected() as third:
        assert_put_off(await refused(w))
        assert "currentTime" in await third.call("Heartbeat", {})


async def test_a_reconnect_without_boot_is_served_J_21() -> None:
    async with world() as w:
        async with w.connected() as cp:
            await cp.boot()
        async with w.connected() as cp:
            assert (await cp.call("Authorize", {"idTag": "ALICE"}))["idTagInfo"]["status"] == "Accepted"


async def test_the_end_of_a_connection_is_a_fact() -> None:
    async with world() as w:
        async with w.connected():
            pass
        assert (await w.bus.until(ChargePointDisconnected)).reason == "closed 1000"
        assert w.state().connection is None


async def test_while_the_log_is_away_handshakes_are_put_off() -> None:
    async with world() as w:
        w.bus.away = True
        assert_put_off(await refused(w))
        assert_put_off(await refused(w))


async def test_while_the_store_is_away_and_nothing_is_known_handshakes_are_put_off() -> None:
    async with world() as w:
        w.directory.away = True
        assert_put_off(await refused(w))


async def test_a_busy_or_full_process_refuses_new_connections_and_serves_old_ones() -> None:
    async with world(replace(QUICK, most_connections=1)) as w, w.connected() as cp:
        await w.charge_point("CP-2")
        assert_put_off(await refused(w, id="CP-2"))
        w.load = True
        assert_put_off(await refused(w))
        assert "currentTime" in await cp.call("Heartbeat", {})


async def test_who_guesses_again_and_again_has_to_wait() -> None:
    async with world(replace(QUICK, guess_burst=3)) as w:
        statuses = [(await refused(w, password=f"guess {n}"))[0] for n in range(5)]
        assert statuses == [401, 401, 401, 429, 429]
        await w.charge_point("CP-2")
        async with w.connected("CP-2"):
            pass


@pytest.mark.parametrize("how", [{"password": "wrong"}, {"password": None}, {"user": "CP-2"}])
async def test_who_repeats_what_was_refused_has_to_wait_too(how: dict[str, Any]) -> None:
    async with world(replace(QUICK, guess_burst=3)) as w:
        statuses = [(await refused(w, **how))[0] for _ in range(6)]
        assert (statuses[:3], statuses[-1]) == ([401] * 3, 429)
        async with w.connected():
            pass


async def test_another_spelling_of_the_url_gives_no_more_guesses() -> None:
    async with world(replace(QUICK, guess_burst=3)) as w:
        paths = [
            "/ocpp/demo/CP-1?x=1",
            "/ocpp/demo/CP-1?x=2",
            "/ocpp/demo/%43P-1",
            "/ocpp/demo/C%50-1",
            "/ocpp/CP-1",
        ]
        statuses = [(await refused(w, path=path, password=f"guess at {path}"))[0] for path in paths]
        assert statuses == [401, 401, 401, 429, 429]
        assert (await refused(w))[0] == 429, (
            "the right one is a guess, too, while nobody knows that it is right"
        )


async def test_the_guesses_of_many_addresses_at_one_charge_point_count_together() -> None:
    async with world(replace(BEHIND, guess_burst=3)) as w:
        statuses = [
            (await refused(w, password=f"guess {n}", forwarded=f"198.51.100.{n}"))[0] for n in range(5)
        ]
        assert statuses == [401, 401, 401, 429, 429]


async def test_credentials_that_were_right_before_pass_whatever_is_guessed() -> None:
    async with world(replace(QUICK, guess_burst=10, address_guess_burst=10)) as w:
        async with w.connected():
            pass
        statuses = [(await refused(w, password=f"guess {n}"))[0] for n in range(12)]
        assert statuses == [401] * 10 + [429] * 2
        async with w.connected() as cp:
            assert (await cp.boot())["status"] == "Accepted"


async def test_an_address_that_guesses_keeps_no_other_charge_point_behind_it_away() -> None:
    async with world(replace(QUICK, address_guess_burst=2, guesses_per_address=0.001)) as w:
        await w.charge_point("CP-2")
        statuses = [(await refused(w, password=f"guess {n}"))[0] for n in range(4)]
        assert statuses == [401, 401, 429, 429]
        async with w.connected("CP-2"):
            pass


class Hanging(Credentials):
    """Hashes that never end, until they are let go."""

    def __init__(self, before: Credentials) -> None:
        super().__init__()
        self._key, self._right = before._key, before._right
        self.begun = 0
        self.go = asyncio.Event()

    async def verify(self, password: bytes, stored: str) -> bool:
        self.begun += 1
        await self.go.wait()
        return False


async def test_guessers_hold_up_nobody_whose_credentials_are_known_or_who_needs_none() -> None:
    async with world(replace(QUICK, most_hashes=3)) as w:
        await w.charge_point("OPEN", password="")
        async with w.connected():
            pass
        for n in range(8):
            await w.charge_point(f"T-{n}")
        hanging = Hanging(w.gateway._credentials)
        w.gateway._admission._credentials = hanging
        guesses = [asyncio.create_task(refused(w, id=f"T-{n}", password="guess")) for n in range(8)]
        done, waiting = await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
        while len(done) < 3:
            more, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            done |= more
        assert {task.result()[0] for task in done} == {503}, "those beyond the queue are put off at once"
        assert (len(waiting), hanging.begun) == (5, 2)
        async with w.connected(), w.connected("OPEN", password=None):
            pass
        assert (hanging.begun, hanging.go.is_set()) == (2, False)
        hanging.go.set()
        assert {task.result()[0] for task in (await asyncio.wait(waiting))[0]} == {401}


async def test_whoever_guesses_chosen_words_holds_up_nobody_who_has_a_key() -> None:
    async with world() as w:
        for n in range(3):
            await w.charge_point(f"T-{n}", password="a word")
        words = threading.Event()
        occupied = asyncio.get_running_loop().run_in_executor(w.gateway._credentials._words, words.wait)
        guesses = [asyncio.create_task(refused(w, id=f"T-{n}", password="guess")) for n in range(3)]
        async with w.connected():
            pass
        assert not any(guess.done() for guess in guesses)
        words.set()
        await occupied
        assert {(await guess)[0] for guess in guesses} == {401}


async def test_an_unknown_charge_point_costs_no_hash() -> None:
    async with world() as w:
        hanging = w.gateway._admission._credentials = Hanging(w.gateway._credentials)
        assert (await refused(w, id="CP-9", password="guess"))[0] == 404
        assert hanging.begun == 0


async def test_behind_a_trusted_proxy_the_client_is_who_the_proxy_heard() -> None:
    async with world(BEHIND) as w, w.connected(forwarded="203.0.113.9, 198.51.100.7, 10.1.2.3"):
        assert w.bus.all(ChargePointConnected)[-1].address == "198.51.100.7"


async def test_what_anybody_else_says_of_its_address_counts_for_nothing() -> None:
    async with world() as w, w.connected(forwarded="198.51.100.7"):
        assert w.bus.all(ChargePointConnected)[-1].address == "127.0.0.1"


async def test_behind_a_proxy_each_address_has_its_own_limit() -> None:
    options = replace(BEHIND, handshake_burst=2, handshakes_per_address=0.001)
    async with world(options) as w:
        statuses = [await handshake(w, "CP-1", forwarded=f"198.51.100.{n % 2}") for n in range(6)]
        assert [status for status, _ in statuses] == [401, 401, 401, 401, 429, 429]


async def test_one_ipv6_network_of_64_bits_has_one_limit() -> None:
    options = replace(BEHIND, handshake_burst=2, handshakes_per_address=0.001)
    async with world(options) as w:
        statuses = [await handshake(w, "CP-1", forwarded=f"2001:db8:0:1::{n}") for n in range(3)]
        assert [status for status, _ in statuses] == [401, 401, 429]


async def test_refused_handshakes_are_reported_by_tenant_and_charge_point() -> None:
    async with world(replace(BEHIND, knocks_pause=0.2)) as w:
        for _ in range(3):
            await refused(w, id="CP-9", forwarded="198.51.100.7")
        await refused(w, password="wrong", path="/ocpp/demo/CP-1?key=secret")
        await refused(w, path="/ocpp/nobody/CP-1")
        heard = await w.bus.until(HandshakesRefused, 2)
        knocks = {
            (event.originator_id.partition("|")[2], one.id, one.reason): (one.count, one.address)
            for event in w.bus.all(HandshakesRefused)
            for one in event.knocks
        }
        assert heard.left_out == 0
        assert knocks == {
            ("demo", "CP-9", "unknown"): (3, "198.51.100.7"),
            ("demo", "CP-1", "unauthorized"): (1, "127.0.0.1"),
            ("", "/ocpp/nobody/CP-1", "unknown"): (1, "127.0.0.1"),
        }


@pytest.mark.parametrize(
    ("reason", "tenant", "how"),
    [
        ("unauthorized", "demo", {"password": "wrong"}),
        ("too_often", "demo", {"password": "another"}),
        ("no_room", "full", {"path": "/ocpp/full/NEW-1", "id": "NEW-1"}),
        ("ambiguous", "", {"path": "/ocpp/TWIN", "id": "TWIN"}),
        ("unknown", "", {"path": "/"}),
    ],
)
async def test_each_refusal_says_why(reason: str, tenant: str, how: dict[str, Any]) -> None:
    async with world(replace(QUICK, guess_burst=1, guesses_per_charge_point=0.001)) as w:
        w.tenant("full", auto_register=True)
        w.quota.left["full"] = 0
        await w.charge_point("TWIN")
        await w.charge_point("TWIN", tenant="full")
        if reason == "too_often":
            await refused(w, password="wrong")
        await refused(w, **how)
        knock = list(w.gateway._knocks._heard[tenant].knocks.values())[-1]
        assert (knock.reason, knock.count) == (reason, 1)


async def test_an_address_that_asks_too_often_has_to_wait() -> None:
    async with world(replace(QUICK, handshake_burst=2, handshakes_per_address=0.001)) as w:
        async with w.connected(), w.connected():
            pass
        assert (await refused(w))[0] == 429


async def test_the_gateway_stops_with_service_restart() -> None:
    async with world() as w, w.connected() as cp:
        await w.gateway.stop()
        assert await cp.closed() == (1012, "gateway stopping")
        assert w.bus.all(ChargePointDisconnected)[0].reason == "gateway stopping"


async def test_a_silent_connection_is_pinged_then_dropped_J_19() -> None:
    options = replace(QUICK, ping_every=0.05, silent_after=0.1)
    async with world(options) as w, w.connected() as cp:
        (connection,) = w.gateway.registry
        await eventually(lambda: connection.answers_pings)
        assert "currentTime" in await cp.call("Heartbeat", {})
        cp.socket.transport.pause_reading()
        assert (await w.bus.until(ChargePointDisconnected)).reason == "silent"
        cp.socket.transport.abort()


async def test_a_removed_charge_point_is_told_and_closed() -> None:
    async with world() as w, w.connected() as cp:
        await cp.boot()
        await w.bus.ask(Remove(tenant="demo", charge_point_id="CP-1"), Meta(command_id="x", at=NOON))
        assert (await cp.call("Authorize", {"idTag": "ALICE"}))[0] == "SecurityError"
        assert await cp.closed() == (1008, "not registered")


async def test_a_socket_that_goes_away_during_the_handshake_leaves_no_connection() -> None:
    async with world() as w:
        w.bus.slow[Connect] = 0.1
        _, writer = await asyncio.open_connection("127.0.0.1", w.port)
        key = base64.b64encode(f"CP-1:{PASSWORD}".encode()).decode()
        writer.write(
            b"GET /ocpp/demo/CP-1 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: ocpp1.6\r\nAuthorization: Basic " + key.encode() + b"\r\n\r\n"
        )
        await writer.drain()
        writer.transport.abort()
        assert (await w.bus.until(ChargePointDisconnected)).reason == "handshake broken off"
        assert len(w.gateway.registry) == 0
        assert len(w.bus.all(ChargePointDisconnected)) == 1


async def test_settings_that_change_serve_the_connections_that_are_open() -> None:
    async with world() as w, w.connected() as cp:
        w.tenant(heartbeat_interval=77)
        assert (await cp.boot())["interval"] == 77
