"""The living network: drivers come and go at four charge points, and their bills arrive at the eMSP.

What enters: the addresses of ChargeSphere's doors and a token of a platform admin. What leaves: traffic, lines that
say how it goes, and at the end a table and an exit status.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from rich.console import Console

from chargesphere.demo.api_client import ApiClient, ApiFailedError
from chargesphere.demo.charge_point import SimulatedChargePoint
from chargesphere.demo.cpo import Cpo
from chargesphere.demo.emsp import Card, Emsp, make_cards
from chargesphere.demo.platform import OcpiFailedError
from chargesphere.demo.scenery import CONNECTORS, Place, connect_partners, furnish, offered
from chargesphere.demo.verdict import Verdict, judge, table_of

LAST_START: Final = 25.0
"""No charge begins in the last so many seconds, so that each can end and its CDR arrive."""
LEAST_SECONDS: Final = LAST_START + 1.0
"""A network that lives no longer cannot succeed: its charge points come in before their first charges begin."""
DRAIN: Final = 20.0
REMOTE_SHARE: Final = 0.2


class Network:
    """`run` once. `jwt` is a platform admin's token, or makes one; charge points share several `ocpp_url`s."""

    def __init__(
        self,
        api_url: str,
        ocpp_url: str | Sequence[str],
        jwt: str | Callable[[], str],
        *,
        console: Console | None = None,
        charge_seconds: tuple[float, float] = (10.0, 20.0),
        pause_seconds: tuple[float, float] = (1.0, 4.0),
        refuse_every: int = 5,
        report_every: float = 10.0,
    ) -> None:
        self._ocpp_urls = [ocpp_url] if isinstance(ocpp_url, str) else list(ocpp_url)
        self._token: Callable[[], str] = (lambda: jwt) if isinstance(jwt, str) else jwt
        self._api = ApiClient(api_url, self._token)
        self._console = console or Console()
        self._charge_seconds, self._pause_seconds = charge_seconds, pause_seconds
        self._report_every = report_every
        self._cards = make_cards(16)
        self.emsp = Emsp(self._cards, refuse_every=refuse_every)
        self.cpo = Cpo()
        self.devices: dict[str, list[SimulatedChargePoint]] = {}
        self._busy: set[str] = set()
        self._refused_cards = 0
        self._commands, self._apps = itertools.count(1), itertools.count()
        self._run_id = f"demo-{random.getrandbits(32):08x}"

    async def run(self, for_seconds: float | None, over: asyncio.Event) -> int:
        """The exit status: 0 if at least one charge finished and each became a delivered CDR, else 1.

        It goes on for `for_seconds`, or for ever, or until it is `over`; then the status is that of what is there.
        """
        async with contextlib.AsyncExitStack() as stack:
            stack.push_async_callback(self._api.close)
            await stack.enter_async_context(self.emsp.serving())
            await stack.enter_async_context(self.cpo.serving())
            try:
                places = await furnish(self._api)
                await connect_partners(self._api, self.emsp, self.cpo)
            except (ApiFailedError, OcpiFailedError) as error:
                self._console.print(f"the network could not be set up: {error}", markup=False)
                return 1
            self._greet(places)
            verdict = await self._live(places, for_seconds, over)
        self._console.print(table_of(verdict))
        for problem in verdict.problems[:20]:
            self._console.print(f"- {problem}", markup=False)
        return 0 if verdict.good else 1

    async def _live(self, places: Sequence[Place], for_seconds: float | None, over: asyncio.Event) -> Verdict:
        loop = asyncio.get_running_loop()
        began = loop.time()
        last_start = began + for_seconds - LAST_START if for_seconds is not None else float("inf")
        running = [asyncio.create_task(self._report_forever())]
        drivers: list[asyncio.Task[None]] = []
        for number, place in enumerate(places):
            url = f"{self._ocpp_urls[number % len(self._ocpp_urls)].rstrip('/')}/ocpp/{place.tenant}"
            device = SimulatedChargePoint(url, place.identity, place.password, connectors=CONNECTORS)
            self.devices.setdefault(place.tenant, []).append(device)
            running.append(asyncio.create_task(device.run()))
            cards = self._cards[number * 4 : number * 4 + 4]
            drivers += [
                asyncio.create_task(self._drive(place.tenant, device, connector, cards, last_start))
                for connector in device.connectors
            ]
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(None if for_seconds is None else began + for_seconds):
                    await over.wait()
            return await self.verdict() if over.is_set() else await self._drained(loop.time() + DRAIN)
        finally:
            for task in (*drivers, *running):
                task.cancel()
            await asyncio.gather(*drivers, *running, return_exceptions=True)

    async def _drained(self, deadline: float) -> Verdict:
        """The verdict once nothing is on its way, or when the time is over."""
        loop = asyncio.get_running_loop()
        while True:
            verdict = await self.verdict()
            if (verdict.settled and verdict.finished) or loop.time() >= deadline:
                return verdict
            await asyncio.sleep(0.5)

    async def verdict(self) -> Verdict:
        """What became of the charges so far."""
        tenants = list(self.devices)
        try:
            sessions = {tenant: await self._api.every("/sessions", tenant=tenant) for tenant in tenants}
            cdrs = {tenant: await self._api.every("/cdrs", tenant=tenant) for tenant in tenants}
        except ApiFailedError as error:
            return Verdict(problems=[str(error)])
        verdict = judge(self.devices, self.emsp, sessions, cdrs)
        verdict.problems += self.cpo.violations
        verdict.refused_cards = self._refused_cards
        return verdict

    # -- drivers -----------------------------------------------------------------------------------------------

    async def _drive(
        self,
        tenant: str,
        device: SimulatedChargePoint,
        connector: int,
        cards: Sequence[Card],
        last_start: float,
    ) -> None:
        """One connector's drivers, one after another."""
        loop = asyncio.get_running_loop()
        await device.ready.wait()
        while loop.time() < last_start:
            card = random.choice([card for card in cards if card.uid not in self._busy])
            self._busy.add(card.uid)
            try:
                if random.random() < REMOTE_SHARE:
                    await self._by_app(tenant, device, connector, card)
                else:
                    seconds = random.uniform(*self._charge_seconds)
                    self._refused_cards += await device.charge(connector, card.uid, seconds) is None
            finally:
                self._busy.discard(card.uid)
            await asyncio.sleep(random.uniform(*self._pause_seconds))

    async def _by_app(self, tenant: str, device: SimulatedChargePoint, connector: int, card: Card) -> None:
        """A remote start and a remote stop: by the eMSP's app through OCPI, by the tenant's through `/api/v1` in
        turns."""
        place = device.connectors[connector]
        place.begun.clear()
        roaming = next(self._apps) % 2 == 0
        party, location, evse = offered(tenant, device.identity, connector)
        if roaming:
            await self._asked(self.emsp.start(card, location, evse, party))
        else:
            start = {"id_tag": card.uid, "connector_id": connector}
            await self._command(tenant, device, "remote_start", start)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5):
                await place.begun.wait()
        charge = place.charge
        if charge is None:
            self._refused_cards += 1
            return
        await asyncio.sleep(random.uniform(*self._charge_seconds) / 2)
        if roaming:
            await self._asked(self.emsp.stop(card, party))
        elif charge.transaction_id is not None and not charge.finished:
            await self._command(tenant, device, "remote_stop", {"transaction_id": charge.transaction_id})
        await charge.over.wait()

    async def _asked(self, command: Awaitable[str]) -> None:
        try:
            await command
        except OcpiFailedError as error:
            self._console.print(str(error), markup=False)

    async def _command(
        self, tenant: str, device: SimulatedChargePoint, kind: str, parameters: dict[str, object]
    ) -> None:
        body = {
            "command_id": f"{self._run_id}-{next(self._commands)}",
            "command_type": kind,
            "parameters": parameters,
        }
        try:
            await self._api.ask("POST", f"/chargepoints/{device.identity}/commands", body, tenant=tenant)
        except ApiFailedError as error:
            self._console.print(str(error), markup=False)

    # -- what is said ------------------------------------------------------------------------------------------

    def _greet(self, places: Sequence[Place]) -> None:
        say = self._say
        for tenant in dict.fromkeys(place.tenant for place in places):
            say(f"dashboard of {tenant:<6} {self._api.url}/#tenant={tenant}&token={self._token()}")
        say(f"API                 {self._api.url}/docs  {self._api.url}/api/v1")
        say(f"platform admin      {self._token()}")
        for number, place in enumerate(places):
            url = self._ocpp_urls[number % len(self._ocpp_urls)].rstrip("/")
            say(f"charge point        {url}/ocpp/{place.tenant}/{place.identity}  password {place.password}")
        for party in (self.emsp, self.cpo):
            named = f"{party.party.country_code}*{party.party.party_id}"
            say(f"{party.role:<4} {named}         {party.versions_url}  ({party.name})")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    async def _report_forever(self) -> None:
        while True:
            await asyncio.sleep(self._report_every)
            charges = [c for own in self.devices.values() for device in own for c in device.charges]
            self._say(
                f"charges {len(charges)} started, {sum(c.finished for c in charges)} finished; "
                f"CDRs {len(self.emsp.cdrs)} at the eMSP, {self.emsp.refused} refused by it"
            )
