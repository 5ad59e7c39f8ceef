"""The readings of a charge that are kept: at most `READINGS_MOST`, so that its state does not grow with its length.

Left out are only readings that the price does not need, from the oldest on: those between two others across which no
border of a tariff lies, no status changed, power and current stayed in their bands and the register only rose. The
price of what is kept is then that of all. What comes late may need a reading that was left out; then, and where more
than `READINGS_MOST` are needed, it is said that the price may differ.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Protocol

from msgspec import Struct
from msgspec.structs import replace

from domain.clock import earlier
from domain.parking import StatusChange, flips
from domain.pricing.borders import Borders, band
from domain.pricing.curve import mean_kw, tenths
from domain.thinning import thinned
from domain.values import Value

READINGS_MOST = 1000
_TAIL = 2


class Register(Protocol):
    """A reading of the register with power and current, in Wh, W and A."""

    @property
    def at(self) -> datetime: ...
    @property
    def energy_wh(self) -> Decimal: ...
    @property
    def power_w(self) -> Decimal | None: ...
    @property
    def current_a(self) -> Decimal | None: ...


class Kept(Struct, frozen=True, array_like=True):
    """A reading at the charge point's time; `gap` where others between it and the one before were left out."""

    at: datetime
    energy_wh: Decimal
    power_w: Decimal | None = None
    current_a: Decimal | None = None
    gap: bool = False


class Judged(Value, frozen=True, kw_only=True):
    """How far the readings were looked through, oldest first, and what must be known there.

    Energy is the register less `base_wh`. `regained_wh`: where the register fell from and has not come back to.
    """

    through: datetime
    base_wh: Decimal
    regained_wh: Decimal | None = None


class Thinned(Value, frozen=True, kw_only=True):
    """Readings, by their times, that are kept no longer; `rough`: the price of the others may differ."""

    left_out: tuple[datetime, ...] = ()
    judged: Judged | None = None
    rough: bool = False


def merged(kept: Sequence[Kept], news: Iterable[Register], without: Sequence[datetime] = ()) -> list[Kept]:
    """The readings in the order of time, less those that are left out."""
    found = list(kept)
    for one in news:
        reading = Kept(one.at, one.energy_wh, one.power_w, one.current_a)
        if not found or found[-1].at < one.at:
            found.append(reading)
        else:
            place = bisect_left(found, one.at, key=_at)
            if place < len(found) and found[place].gap:
                reading = replace(reading, gap=True)
            found.insert(place, reading)
    for at in without:
        place = bisect_left(found, at, key=_at)
        if place < len(found) - 1 and found[place].at == at:
            del found[place]
            found[place] = replace(found[place], gap=True)
    return found


def evenly(kept: Sequence[Kept]) -> Thinned | None:
    """Where nothing is known yet that they could be judged by; None where they are few enough."""
    if len(kept) <= READINGS_MOST:
        return None
    return Thinned(left_out=_others(kept, thinned(kept, READINGS_MOST)), rough=True)


class Keeper:
    """Which readings of a charge are needed. `off` is what its times are corrected by, `meter_start` in Wh."""

    def __init__(
        self, borders: Borders, changes: Sequence[StatusChange], off: timedelta, meter_start: Decimal
    ) -> None:
        self._borders, self._changes, self._off, self._meter_start = borders, changes, off, meter_start

    def thin(self, kept: Sequence[Kept], news: Sequence[Register], judged: Judged | None) -> Thinned | None:
        """What to leave out of `kept`, to which `news` have come; None where nothing changes.

        Each reading is judged once, so that the work is as much as what came; all are judged again where one came
        late.
        """
        late = [one.at for one in news if judged is not None and self._late(kept, one.at, judged)]
        rough = any(self._upsets(kept, at) for at in late)
        if len(kept) <= READINGS_MOST:
            return Thinned(judged=judged, rough=True) if rough else None
        found, left_out = list(kept), []
        now = self._begin(found) if judged is None or late else judged
        place = max(1, bisect_right(found, now.through, key=_at))
        while len(found) > READINGS_MOST and place < len(found) - _TAIL:
            if self._needed(found, place, now):
                now = self._past(found, place, now)
                place += 1
            else:
                left_out.append(found[place].at)
                del found[place]
                found[place] = replace(found[place], gap=True)
        if len(found) > READINGS_MOST:
            rest = thinned(found, READINGS_MOST // 2)
            left_out += _others(found, rest)
            rough = True
        return Thinned(left_out=tuple(left_out), judged=now, rough=rough)

    def fits(self, kept: Sequence[Kept], one: Register) -> bool:
        """Whether the reading, which came late, says nothing that those around it do not say: it was left out before,
        or would be."""
        place = bisect_left(kept, one.at, key=_at)
        if not 0 < place < len(kept) or not kept[place].gap:
            return False
        before, after = kept[place - 1], kept[place]
        if self._borders.power_bands and one.power_w is None:
            return False
        if self._second(before.at) == self._second(one.at):
            return False
        return before.energy_wh <= one.energy_wh <= after.energy_wh and self._same_bands(before, one)

    def unsure(
        self, kept: Sequence[Kept], series: Mapping[datetime, Decimal], end: datetime, most_wh: Decimal | None
    ) -> bool:
        """Whether something that the price depends on lies where readings were left out: a border, a change of
        status, the end, or energy that was counted in part only.

        `series` is the energy counted until each reading, which `most_wh` cut off.
        """
        gaps = [(a, b) for a, b in pairwise(kept) if b.gap]
        if not gaps:
            return False
        last = self._second(end)
        changes = {self._second(at) for at in flips(self._changes)}
        moments = sorted({last, *changes, *self._borders.moments(self._borders.start, last)})
        energies = sorted({*self._borders.energies_wh, *([] if most_wh is None else [most_wh])})
        for a, b in gaps:
            first = bisect_right(moments, self._second(a.at))
            if first < len(moments) and moments[first] < self._second(b.at):
                return True
            low, high = series.get(a.at), series.get(b.at)
            if low is None or high is None:
                if low is not high:
                    return True
            elif bisect_right(energies, low) < bisect_right(energies, high):
                return True
        return False

    def _begin(self, kept: Sequence[Kept]) -> Judged:
        first, start = kept[0], self._meter_start
        if first.energy_wh >= start:
            return Judged(through=first.at, base_wh=start)
        back = any(one.energy_wh >= start for one in kept)
        return Judged(through=first.at, base_wh=start if back else first.energy_wh, regained_wh=start)

    def _past(self, kept: Sequence[Kept], place: int, judged: Judged) -> Judged:
        """What is known behind a reading that stays."""
        before, one = kept[place - 1], kept[place]
        base, regained = judged.base_wh, judged.regained_wh
        if one.energy_wh < before.energy_wh:
            two_before = kept[place - 2].energy_wh if place > 1 else self._meter_start
            if two_before > one.energy_wh:
                regained = before.energy_wh if regained is None else max(regained, before.energy_wh)
                if all(then.energy_wh < before.energy_wh for then in kept[place + 1 :]):
                    base += one.energy_wh - before.energy_wh
        elif regained is not None and one.energy_wh >= regained:
            regained = None
        return Judged(through=one.at, base_wh=base, regained_wh=regained)

    def _needed(self, kept: Sequence[Kept], place: int, judged: Judged) -> bool:
        before, one, after, then = kept[place - 1 : place + 3]
        first, second, last = self._second(before.at), self._second(one.at), self._second(after.at)
        return (
            first == second
            or second != last == self._second(then.at)  # the last reading of a second counts
            or self._falls(kept, place)
            or self._crossed(before.energy_wh, after.energy_wh, judged)
            or (second != last and not self._alike(before, one, after, judged.base_wh))
            or first < self._borders.start < last
            or bool(flips(self._changes, before.at, after.at))
            or bool(self._borders.moments(first, last))
        )

    def _falls(self, kept: Sequence[Kept], place: int) -> bool:
        """Whether the register falls within two readings: whether a high one was a spike is seen there."""
        values = [one.energy_wh for one in kept[max(place - 2, 0) : place + 3]]
        if place < 2:
            values.insert(0, self._meter_start)
        return any(a > b for a, b in pairwise(values))

    def _crossed(self, low: Decimal, high: Decimal, judged: Judged) -> bool:
        regained, energies = judged.regained_wh, self._borders.energies_wh
        if regained is not None and low < regained <= high:
            return True
        bases = {judged.base_wh, Decimal(0)} if judged.base_wh != self._meter_start else {judged.base_wh}
        return any(bisect_left(energies, low - base) < bisect_right(energies, high - base) for base in bases)

    def _alike(self, before: Kept, one: Kept, after: Kept, base: Decimal) -> bool:
        """Whether power and current stay in their bands from the one before to the one after."""
        if not self._same_bands(before, one):
            return False
        bands = self._borders.power_bands
        if not bands or one.power_w is not None:
            return True
        means = [band(bands, self._mean(a, b, base)) for a, b in ((before, one), (one, after))]
        return means[0] == means[1]

    def _same_bands(self, before: Register, one: Register) -> bool:
        powers, currents = self._borders.power_bands, self._borders.current_bands
        if currents and band(currents, before.current_a) != band(currents, one.current_a):
            return False
        if not powers or before.power_w is one.power_w:
            return True
        if before.power_w is None or one.power_w is None:
            return False
        return band(powers, before.power_w / 1000) == band(powers, one.power_w / 1000)

    def _mean(self, since: Kept, until: Kept, base: Decimal) -> Decimal:
        seconds = int((self._second(until.at) - self._second(since.at)).total_seconds())
        return mean_kw(tenths(until.energy_wh - base) - tenths(since.energy_wh - base), seconds)

    def _late(self, kept: Sequence[Kept], at: datetime, judged: Judged) -> bool:
        return at <= judged.through or self._in_gap(kept, at)

    def _upsets(self, kept: Sequence[Kept], at: datetime) -> bool:
        """Whether a late reading does not fit where readings were judged without it."""
        return self._in_gap(kept, at) or self._falls(kept, bisect_left(kept, at, key=_at))

    def _in_gap(self, kept: Sequence[Kept], at: datetime) -> bool:
        """Whether others next to the reading were left out; of one second the last reading counts."""
        place = bisect_left(kept, at, key=_at)
        before = kept[place - 1] if place else None
        return kept[place].gap or (
            before is not None and before.gap and self._second(before.at) == self._second(at)
        )

    def _second(self, at: datetime) -> datetime:
        return earlier(at, self._off).replace(microsecond=0)


def _others(kept: Sequence[Kept], rest: Sequence[Kept]) -> tuple[datetime, ...]:
    stay = {one.at for one in rest}
    return tuple(one.at for one in kept if one.at not in stay)


def _at(reading: Kept) -> datetime:
    return reading.at
