"""Configuration variables that are wanted beside what the charge point has, and whether the two are the same.

A charge point writes values in its own way: a number, a list or a word of another case is the same value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from decimal import Context, Decimal
from enum import StrEnum
from hashlib import sha256
from typing import Final

import msgspec

from domain.charge_point.announced import Variable
from domain.charge_point.variable_keys import folded, is_heartbeat_key, is_secret_key
from domain.texts import shortened
from domain.values import Value

WISHES_MOST: Final = 50
"""Wishes for one charge point, and as many for all of a tenant's."""

KEY_MOST, VALUE_MOST = 50, 500
"""Characters of a key and of a value (OCPP 1.6, 7.29: CiString50 and CiString500)."""

PUSHES_MOST: Final = 3
"""How often a value is pushed until the charge point has it."""

WISHES_BYTES_MOST: Final = 30_000
"""Of all keys and values of these, as UTF-8."""

TOLD_MOST, REASON_MOST = 100, 200
"""Bytes that are kept here of what it told, and of why it is not as wanted."""

_SEALED: Final = "s1."
_NUMBER: Final = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]{1,9})?")
_EXACT: Final = Context(prec=VALUE_MOST)
"""No two values are one because they are long."""


class VariableState(StrEnum):
    """How what it has stands to what is wanted."""

    PENDING = "pending"  # not known yet, or to be pushed
    IN_SYNC = "in_sync"
    DRIFT = "drift"  # it has another value though it was told as often as it is
    REFUSED = "refused"  # it does not take it, or says that the variable is read-only
    REBOOT_REQUIRED = "reboot_required"  # it has taken it for after its next boot
    UNKNOWN = "unknown"  # it has no such variable


GIVEN_UP: Final = frozenset({VariableState.DRIFT, VariableState.REFUSED, VariableState.UNKNOWN})
"""Not pushed again until somebody asks for it, or the firmware is another."""

WORST_FIRST: Final = (
    VariableState.DRIFT,
    VariableState.REFUSED,
    VariableState.UNKNOWN,
    VariableState.REBOOT_REQUIRED,
    VariableState.PENDING,
    VariableState.IN_SYNC,
)


class Wish(Value, frozen=True, kw_only=True):
    """A variable and the value that it shall have; None: nothing is wanted of it any more."""

    key: str
    value: str | None = None


class Compared(Value, frozen=True, kw_only=True):
    """What was found of a wanted variable. `told` is its value as the charge point said it, cut to `TOLD_MOST`, None
    where it never did; `taken`: it answered that it has taken it, and is to be asked what it has."""

    key: str
    state: VariableState
    told: str | None = None
    readonly: bool = False
    taken: bool = False
    reason: str = ""


class Wanted(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A variable of one charge point that somebody wants to have a value: `own` is the wish for this charge point,
    `default` that for all of the tenant's; the own one counts.

    `unread`: it is to be asked what it has. `pushes` since it was in sync, or since it was wished for.
    """

    key: str
    own: str | None = None
    default: str | None = None
    state: VariableState = VariableState.PENDING
    unread: bool = True
    taken: bool = False
    pushes: int = 0
    told: str | None = None
    readonly: bool = False
    reason: str = ""

    @property
    def value(self) -> str:
        """What is wanted."""
        return self.own if self.own is not None else self.default or ""

    @property
    def to_push(self) -> bool:
        """Whether it is known to have something else, and may be told."""
        return self.state is VariableState.PENDING and not self.unread

    def afresh(self) -> None:
        """Nothing was tried yet."""
        self.state, self.unread, self.taken, self.pushes, self.reason = (
            VariableState.PENDING,
            True,
            False,
            0,
            "",
        )


def wishes_of(values: Mapping[str, str]) -> tuple[Wish, ...]:
    """A tenant's wishes, in one order."""
    return tuple(Wish(key=key, value=value) for key, value in sorted(values.items()))


def mark_of(wishes: Sequence[Wish]) -> str:
    """By which one set of wishes is told from another; empty for none."""
    return sha256(msgspec.json.encode(wishes)).hexdigest()[:16] if wishes else ""


def wrong_in(key: str, value: str | None) -> str:
    """Why it cannot be wished for, or nothing."""
    if not 0 < len(key) <= KEY_MOST or not key.isprintable() or key != key.strip():
        return f"a key has 1 to {KEY_MOST} printable characters"
    if is_secret_key(key):
        return "holds a secret: passwords are set by /credentials or change_configuration"
    if value is not None and (len(value) > VALUE_MOST or not value.isprintable()):
        return f"a value has at most {VALUE_MOST} printable characters"
    if key.startswith(_SEALED) or (value is not None and value.startswith(_SEALED)):
        return f"must not begin with {_SEALED}"
    return ""


def size_of(wishes: Iterable[tuple[str, str]]) -> int:
    """Bytes of their keys and values."""
    return sum(len(key.encode()) + len(value.encode()) for key, value in wishes)


def wrong_defaults(wishes: Mapping[str, str]) -> str:
    """What cannot be of a tenant's wishes, as `key: reason`, or nothing."""
    if len(wishes) > WISHES_MOST:
        return f": must be at most {WISHES_MOST}"
    if size_of(wishes.items()) > WISHES_BYTES_MOST:
        return f": must be at most {WISHES_BYTES_MOST} bytes"
    for key, value in wishes.items():
        if wrong := wrong_in(key, value):
            return f".{key[:KEY_MOST]}: {wrong}"
        if is_heartbeat_key(key):
            return f".{key}: is the setting heartbeat_interval"
    if len({folded(key) for key in wishes}) < len(wishes):
        return ": keys have no case, and one stands here twice"
    return ""


def same(wanted: str, told: str) -> bool:
    """Whether both are one value: numbers by value, lists in any order, nothing by case (OCPP 1.6: CiString)."""
    return _parts(wanted) == _parts(told)


def compared(one: Wanted, told: Variable) -> Compared:
    """What it means for a wish that the charge point said this of its variable."""
    what: tuple[VariableState, str]
    if not told.value and one.taken and not told.readonly:
        what = VariableState.IN_SYNC, ""  # write-only, and it said that it has taken it
    elif same(one.value, told.value):
        what = VariableState.IN_SYNC, ""
    elif one.state in GIVEN_UP or one.state is VariableState.REBOOT_REQUIRED:
        what = one.state, one.reason
    elif told.readonly:
        what = VariableState.REFUSED, "it is read-only"
    elif one.pushes >= PUSHES_MOST:
        what = VariableState.DRIFT, one.reason
    else:
        what = VariableState.PENDING, one.reason
    state, reason = what
    kept = shortened(told.value, TOLD_MOST)
    return Compared(key=one.key, state=state, told=kept, readonly=told.readonly, reason=reason)


def untold(one: Wanted) -> Compared:
    """What it means that it was asked for a variable and said nothing of it."""
    state = VariableState.IN_SYNC if one.taken else one.state
    if state not in GIVEN_UP and state is not VariableState.IN_SYNC:
        state = VariableState.DRIFT if one.pushes >= PUSHES_MOST else VariableState.PENDING
    return Compared(key=one.key, state=state, told=one.told, readonly=one.readonly, reason=one.reason)


def wish(wanted: dict[str, Wanted], wishes: Iterable[Wish]) -> None:
    """This is wanted of the charge point itself, whatever its tenant wants; each is tried anew."""
    for one in wishes:
        _set(wanted, one.key, own=one.value)


def default(wanted: dict[str, Wanted], wishes: Iterable[Wish]) -> None:
    """This is all that the tenant wants; what is the same as before goes on as it stands."""
    values = {folded(one.key): one for one in wishes}
    for key, known in list(wanted.items()):
        if key not in values and known.default is not None:
            _set(wanted, known.key, default=None, again=False)
    for one in values.values():
        _set(wanted, one.key, default=one.value, again=False)


def note(wanted: Mapping[str, Wanted], found: Iterable[Compared]) -> None:
    """This was found of them."""
    for one in found:
        known = wanted.get(folded(one.key))
        if known is None:
            continue
        known.state, known.told, known.readonly, known.reason = one.state, one.told, one.readonly, one.reason
        known.unread = known.taken = one.taken
        if one.state is VariableState.IN_SYNC:
            known.pushes = 0


def boot(wanted: Mapping[str, Wanted], *, other_firmware: bool) -> None:
    """Whether it still has them is to be asked; other firmware may take what the former did not."""
    for known in wanted.values():
        known.unread = True
        if other_firmware:
            known.afresh()
        elif known.state is VariableState.REBOOT_REQUIRED:
            known.state = VariableState.PENDING


def push(wanted: Mapping[str, Wanted], key: str) -> None:
    """It is told once more."""
    if key in wanted:
        wanted[key].pushes += 1


def worst(wanted: Iterable[Wanted]) -> VariableState | None:
    """The state that says most; None where nothing is wanted."""
    states = {one.state for one in wanted}
    return next((state for state in WORST_FIRST if state in states), None)


def _set(wanted: dict[str, Wanted], key: str, *, again: bool = True, **wish: str | None) -> None:
    known = wanted.get(folded(key)) or Wanted(key=key)
    before = known.value if folded(key) in wanted else None
    for name, value in wish.items():
        setattr(known, name, value)
    if known.own is None and known.default is None:
        wanted.pop(folded(key), None)
        return
    wanted[folded(key)] = known
    if again or known.value != before:
        known.afresh()


def _parts(text: str) -> list[str]:
    return sorted(_plain(part) for part in text.split(","))


def _plain(text: str) -> str:
    bare = text.strip().casefold()
    if not _NUMBER.fullmatch(bare):
        return bare
    number = Decimal(bare)
    if not number:
        return "0"
    return f"{number.normalize(_EXACT):f}" if abs(number.adjusted()) < 32 else bare
