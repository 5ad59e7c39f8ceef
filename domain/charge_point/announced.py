"""What a charge point tells of itself when it answers us: variables, and what they mean in any version."""

from __future__ import annotations

import msgspec

from domain.schedules import Abilities, Unit
from domain.values import Value


class Announced(Value, frozen=True, kw_only=True):
    """What it said that it can do. None: it never said, so nothing is refused for it.

    `features` are the names of what it offers, folded (`domain.intents.Feature` has those that we know); a charge
    point that told them told all that it has. Intervals and timeouts in seconds.
    """

    features: tuple[str, ...] | None = None
    connectors: int | None = None
    variables_at_once: int | None = None
    list_entries: int | None = None
    list_entries_at_once: int | None = None
    reserves_whole: bool | None = None
    max_stack_level: int | None = None
    max_periods: int | None = None
    max_profiles: int | None = None
    units: tuple[Unit, ...] | None = None
    heartbeat_interval: int | None = None
    meter_interval: int | None = None
    connection_timeout: int | None = None

    def then(self, newer: Announced) -> Announced:
        """After it said this too: what it did not say again stands."""
        said = {name: value for name, value in msgspec.structs.asdict(newer).items() if value is not None}
        return msgspec.structs.replace(self, **said)

    def schedules(self) -> Abilities:
        """What it can do with charging profiles."""
        return Abilities(
            max_stack_level=self.max_stack_level,
            max_periods=self.max_periods,
            max_installed=self.max_profiles,
            units=None if self.units is None else frozenset(self.units),
        )


NOTHING = Announced()


class Variable(Value, frozen=True, kw_only=True):
    """A configuration variable as told; the value of one that holds a secret stays empty."""

    key: str
    value: str = ""
    readonly: bool = False


class Learned(Value, frozen=True, kw_only=True):
    """What an answer teaches beyond its status.

    `variables` are those that it told, `announced` what they mean, or what the one means that it has taken; None
    where nothing was learned of it. `unknown` are keys of which it says that it has no such variable.
    `after_reboot`: it takes the variable with its next boot. `scheduled`: it does so once its transaction is over.
    `list_version` is that
    of the local list that it holds, negative for none. `cleared`: of the profiles that were named there is none any
    more.
    """

    variables: tuple[Variable, ...] = ()
    unknown: tuple[str, ...] = ()
    announced: Announced | None = None
    after_reboot: bool = False
    scheduled: bool = False
    list_version: int | None = None
    cleared: bool = False
