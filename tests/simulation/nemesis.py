"""What goes wrong in a world, one coroutine for each kind; the seed draws which rage together and when.

Each does its harm again and again until the storm is over; `calm` then ends what lasts: everything runs again, the
network and the servers are whole, clocks stay as wrong as they are.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from functools import partial
from random import Random
from typing import TYPE_CHECKING, Any, Final

from msgspec.structs import replace

from commands.base import Command, Meta
from commands.partner import Resume, Suspend
from domain.charge_point import charge_point_key
from streams.log import LogUnavailableError, TopicPartition
from streams.log.topology import DEAD, commands_topic, state_topic
from tests.simulation.facts import CHARGE_POINTS, MOST_SKEW, TENANT
from tests.simulation.loop import Node
from tests.simulation.network import Weather
from tests.simulation.processes import MISTAKEN, Process

if TYPE_CHECKING:
    from tests.simulation.world import World

PACE: Final = 0.45
"""What the pauses of the nemeses are multiplied with, so that a short storm holds some of them."""
PLACES: Final = ("commands", "events", "state", "store", "reads", "partner")
"""Where a process writes, reads or sends something."""
SERVICES: Final = ("log", "store", "wire", "partner", "mqtt")


class Nemeses:
    """`rage` until cancelled, then `calm`. `done` says what was done and when."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.done: list[str] = []
        self._skews: dict[str, float] = {}
        self._guests = 0

    @staticmethod
    def draw(chance: Random) -> tuple[str, ...]:
        """Which of them a world meets: none now and then, mostly some together."""
        count = int(chance.random() * 4.2)
        names = list(KINDS)
        return tuple(sorted({names[int(chance.random() * len(names))] for _ in range(count)}))

    def skew_of(self, name: str) -> float:
        """How wrong this machine's clock is, in seconds; the same after a restart."""
        if "skew" not in self.world.shape.faults:
            return 0.0
        if name not in self._skews:
            self._skews[name] = (self.world.chance.random() - 0.5) * MOST_SKEW
        return self._skews[name]

    async def rage(self) -> None:
        await asyncio.gather(*(KINDS[name](self) for name in self.world.shape.faults))

    def calm(self) -> None:
        """The good day after."""
        world = self.world
        world.network.weather.clear()
        world.network.down.clear()
        world.network.cut.clear()
        world.network.stalled.clear()
        world.broker.full.clear()
        world.inbox.busy_until = 0.0
        for name, role in list(world.wanted.items()):
            process = world.processes[name]
            process.node.watch = process.node.trap = None
            if process.node.frozen:
                world.loop.thaw(process.node)
            if not process.node.alive:
                world.start(name, role)
        self._say("calm")

    # -- the kinds -----------------------------------------------------------------------------------------------

    async def crash(self) -> None:
        """A process is killed and comes back."""
        while True:
            await self._pause(1, 8)
            name = self._pick()
            if name:
                self._kill(name)
                await self._last(0.2, 3)
                self._restart(name)

    async def step(self) -> None:
        """A process is killed between two of its steps, wherever it is."""
        world = self.world
        while True:
            await self._pause(0.5, 5)
            name = self._pick()
            if not name:
                continue
            node = world.processes[name].node
            self._catch(node, 600, partial(self._kill, name))
            await self._last(1, 4)
            node.watch = node.trap = None
            self._restart(name)

    async def freeze(self) -> None:
        """A process stands still, perhaps past its session, and goes on as if nothing had been."""
        world = self.world
        while True:
            await self._pause(1, 6)
            name = self._pick()
            if not name:
                continue
            node = world.processes[name].node
            await self._freeze(node, 600)
            await self._last(0.5, 12)
            self._thaw(node)

    async def zombie(self) -> None:
        """A decider stands still past its session, while others decide, and goes on in the middle of its work."""
        world = self.world
        while True:
            await self._pause(0.5, 3)
            name = self._pick("decider")
            if not name:
                continue
            node = world.processes[name].node
            await self._freeze(node, 400)
            await self._last(6, 12)
            self._thaw(node)

    async def cut(self) -> None:
        """Between one process and one server nothing passes."""
        world = self.world
        while True:
            await self._pause(0.5, 6)
            names = [*self._names(), *(point.id for point in world.charge_points)]
            name = names[int(world.chance.random() * len(names))]
            service = "wire" if name.startswith("CP-") else self._server(4)
            world.network.cut.add((name, service))
            self._say(f"cut {name} {service}")
            await self._last(0.3, 10)
            world.network.cut.discard((name, service))
            self._say(f"mend {name} {service}")

    async def down(self) -> None:
        """A server is away."""
        world = self.world
        while True:
            await self._pause(1, 8)
            service = self._server(5)
            if service == "wire":
                continue
            world.network.down.add(service)
            self._say(f"{service} down")
            await self._last(0.5, 8)
            world.network.down.discard(service)
            self._say(f"{service} up")

    async def weather(self) -> None:
        """Requests are refused, done without an answer, done late, or slow."""
        world = self.world
        chance = world.chance
        while True:
            service = self._server(4)
            share = min(0.9, chance.random() ** 2 * 0.4 * world.shape.severity)
            world.network.weather[service] = Weather(
                refused=share * chance.random(),
                unanswered=share * chance.random(),
                late=share * chance.random(),
                slow=chance.random() * 0.3,
                slowest=chance.random() ** 2 * 8.0,
            )
            self._say(f"weather {service}")
            await self._last(2, 8)
            world.network.weather.pop(service, None)

    async def members(self) -> None:
        """Further processes come and go, politely or not: partitions change hands."""
        world = self.world
        while True:
            await self._pause(0.5, 5)
            roles = world.shape.victims or ("decider", "projector", "projector", "effects")
            role = roles[int(world.chance.random() * len(roles))]
            if role == "effects" and not world.shape.projectors:
                continue  # it would wait for documents that nobody makes
            # One that came before a calm may still be there: no two have one name.
            self._guests += 1
            name = f"{role}-guest{self._guests}"
            world.start(name, role)
            self._say(f"{name} comes")
            await self._last(3, 12)
            del world.wanted[name]
            self._kill(name)

    async def power(self) -> None:
        """The broker's machine loses its power: of commands, what it had not written is gone."""
        world = self.world
        while True:
            await self._pause(0.2, 2)
            world.broker.flush()
            await self._pause(0.2, 6)
            world.network.down.add("log")
            places = [
                place
                for place in world.broker.partitions
                if place.topic.startswith("chargesphere.commands.") and world.chance.random() < 0.5
            ]
            gone = world.broker.cut_tail(places)
            self._say(f"power lost, {gone} commands gone")
            await self._last(0.5, 3)
            world.network.down.discard("log")

    async def skew(self) -> None:
        """Clocks differ by nearly as much as they may, and jump."""
        world = self.world
        while True:
            await self._pause(2, 8)
            name = self._pick()
            if name:
                self._skews[name] = (world.chance.random() - 0.5) * MOST_SKEW
                world.processes[name].node.skew = self._skews[name]

    async def compact(self) -> None:
        """The servers compact, also to the very end, and at once from some moment on."""
        world = self.world
        while True:
            await self._pause(1, 6)
            world.broker.compacts_at_once = world.chance.random() < 0.7
            for topic in (DEAD, *(state_topic(area) for area in world.areas)):
                world.broker.compact(topic)
            self._say("compacted")

    async def rust(self) -> None:
        """A stored state becomes one that this release cannot read."""
        world = self.world
        while True:
            await self._pause(2, 8)
            area = world.areas[int(world.chance.random() * len(world.areas))]
            for number in range(world.broker.count(state_topic(area))):
                partition = world.broker.partitions[TopicPartition(state_topic(area), number)]
                for index, stored in enumerate(partition.records):
                    if stored.value and b'"state":' in stored.value and world.chance.random() < 0.3:
                        spoiled = stored.value.replace(b'"state":{', b'"state":{"open":7,"started":"?",')
                        partition.records[index] = replace(stored, value=spoiled)
            self._say(f"rust in {area.value}")
            if world.chance.random() < 0.7:
                name = self._pick("decider")
                if name:
                    self._kill(name)
                    await self._last(0.2, 2)
                    self._restart(name)

    async def stall(self) -> None:
        """A decider begins while the log has nothing for it for some seconds, and says so to nobody."""
        world = self.world
        while True:
            await self._pause(1, 5)
            name = self._pick("decider")
            if not name:
                continue
            await self._when_caught(world.processes[name].node, 600, partial(self._kill, name))
            await self._last(0.1, 1)
            self._restart(name)
            node = world.processes[name].node

            def stall(name: str = name) -> None:
                world.network.stalled.add(name)
                self._say(f"stall {name}")

            if world.chance.random() < 0.5:
                await self._last(0.0, 0.1)
                stall()
            else:
                # In the middle of its states.
                node.trap = _before(node, "state read", 1 + int(world.chance.random() * 3), stall)
            await self._last(5, 10)
            node.trap = None
            world.network.stalled.discard(name)

    async def poison(self) -> None:
        """A mistake of ours: what follows from one kind of event of one charge point cannot be worked out."""
        mistaken = MISTAKEN[int(self.world.chance.random() * len(MISTAKEN))]
        self.world.poisoned[charge_point_key(TENANT, CHARGE_POINTS[1])] = mistaken
        self._say("poison")

    async def full(self) -> None:
        """There is no room on the broker's disk."""
        world = self.world
        while True:
            await self._pause(2, 8)
            area = world.areas[int(world.chance.random() * len(world.areas))]
            world.broker.full = (
                set(world.broker.specs) if world.chance.random() < 0.3 else {commands_topic(area)}
            )
            self._say("disk full")
            await self._last(1, 6)
            world.broker.full = set()

    async def busy(self) -> None:
        """The partner answers that it has too much to do, and for how long."""
        world = self.world
        while True:
            await self._pause(0.5, 6)
            lasts = 2 + 20 * world.chance.random()
            world.inbox.busy_until = world.loop.now + lasts
            self._say(f"the partner is busy for {lasts:.0f} s")
            await self._last(2, 10)
            world.inbox.busy_until = 0.0

    async def gone(self) -> None:
        """The partner is suspended, and resumed."""
        world = self.world
        number = 0
        while True:
            await self._pause(0.5, 4)
            number += 1
            process = world.processes["api-0"]
            if not process.ready or not process.node.alive or process.node.frozen:
                continue
            for command, name in ((Suspend(partner_id="tnm"), "gone"), (Resume(partner_id="tnm"), "back")):
                meta = Meta(command_id=f"partner-{name}-{number}", at=process.clock(), tenant=TENANT)
                world.loop.spawn(process.node, _tell(process, command, meta))
                self._say(f"the partner is {name}")
                await self._last(2, 12)

    # -- how -----------------------------------------------------------------------------------------------------

    async def _pause(self, least: float, most: float) -> None:
        """Until the next harm."""
        await asyncio.sleep(
            PACE * self.world.shape.pace * (least + (most - least) * self.world.chance.random())
        )

    async def _last(self, least: float, most: float) -> None:
        """As long as the harm lasts."""
        lasting = PACE * self.world.shape.lasting
        await asyncio.sleep(lasting * (least + (most - least) * self.world.chance.random()))

    async def _freeze(self, node: Node, most: int) -> None:
        """In the middle of its work, if it comes to any soon."""

        def freeze() -> None:
            self.world.loop.freeze(node)
            self._say(f"freeze {node.name}")

        await self._when_caught(node, most, freeze)

    def _thaw(self, node: Node) -> None:
        if node.alive and node.frozen:
            self.world.loop.thaw(node)
            self._say(f"thaw {node.name}")

    async def _when_caught(self, node: Node, most: int, work: Callable[[], None]) -> None:
        """Returns once this was done to a process, in the middle of what it does if it comes to any soon."""
        self._catch(node, most, work)
        patient = bool(self.world.shape.places)
        for _ in range(100 if patient else 8):
            if node.frozen or not node.alive:
                return
            await (self._last(0.1, 0.3) if patient else self._pause(0.2, 0.6))
        node.watch = node.trap = None
        work()

    def _catch(self, node: Node, most: int, work: Callable[[], None]) -> None:
        """Do this in the middle of what a process does: between two of its next `most` steps, or just before it
        writes, reads or sends something."""
        chance = self.world.chance
        places = self.world.shape.places
        if not places and chance.random() < 0.5:
            steps = 1 + int(chance.random() ** 2 * most)

            def watch() -> None:
                nonlocal steps
                steps -= 1
                if steps <= 0:
                    node.watch = None
                    work()

            node.watch = watch
            return
        places, times = places or PLACES, self.world.shape.times or 1 + int(chance.random() * 3)
        place = places[int(chance.random() * len(places))]
        node.trap = _before(node, place, times, work)

    def _pick(self, role: str = "") -> str:
        processes = self.world.processes
        names = [
            name
            for name in (processes if role else self._names())
            if processes[name].node.alive
            and name in self.world.wanted
            and (not role or processes[name].role == role)
        ]
        return names[int(self.world.chance.random() * len(names))] if names else ""

    def _names(self) -> list[str]:
        victims = self.world.shape.victims
        return [name for name, one in self.world.processes.items() if not victims or one.role in victims]

    def _server(self, most: int) -> str:
        servers = self.world.shape.targets or SERVICES[:most]
        return servers[int(self.world.chance.random() * len(servers))]

    def _kill(self, name: str) -> None:
        self.world.kill(name)
        self._say(f"kill {name}")

    def _restart(self, name: str) -> None:
        role = self.world.wanted.get(name)
        if role is not None and not self.world.processes[name].node.alive:
            self.world.start(name, role)
            self._say(f"start {name}")

    def _say(self, text: str) -> None:
        self.done.append(f"{self.world.loop.now - 1000:8.3f} {text}")


async def _tell(process: Process, command: Command, meta: Meta) -> None:
    assert process.bus is not None
    with contextlib.suppress(LogUnavailableError):
        await process.bus.ask(command, meta)


def _before(node: Node, place: str, times: int, work: Callable[[], None]) -> Callable[[str], bool]:
    """A trap: once the process gets to this place for the so many-th time, this is done."""
    left = times

    def trap(reached: str) -> bool:
        nonlocal left
        left -= reached == place
        if left > 0:
            return False
        node.trap = None
        work()
        return True

    return trap


KINDS: dict[str, Callable[[Nemeses], Coroutine[Any, Any, None]]] = {
    "crash": Nemeses.crash,
    "step": Nemeses.step,
    "freeze": Nemeses.freeze,
    "zombie": Nemeses.zombie,
    "cut": Nemeses.cut,
    "down": Nemeses.down,
    "weather": Nemeses.weather,
    "members": Nemeses.members,
    "power": Nemeses.power,
    "skew": Nemeses.skew,
    "compact": Nemeses.compact,
    "rust": Nemeses.rust,
    "full": Nemeses.full,
    "poison": Nemeses.poison,
    "stall": Nemeses.stall,
    "busy": Nemeses.busy,
    "gone": Nemeses.gone,
}
