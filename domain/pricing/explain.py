"""The cost in sentences: a Cost comes in, one line of English for each of its lines and limits goes out."""

from __future__ import annotations

from decimal import Decimal
from zoneinfo import ZoneInfo

from domain.pricing.cost import Amount, Cost, Line
from domain.pricing.numbers import exact, plain
from domain.pricing.usage import utc

_UNIT = {"FLAT": "", "ENERGY": "/kWh", "TIME": "/h", "PARKING_TIME": "/h"}


def explain(cost: Cost) -> tuple[str, ...]:
    """In local time, the amounts with at least two decimals."""
    zone = ZoneInfo(cost.time_zone)
    with exact():
        texts = [_line(line, cost.currency or "", zone) for line in cost.lines]
        for name in cost.limited_by:
            texts.append(f"{name}: the total becomes {_amount(cost.total, cost.currency or '')}")
        return tuple(texts)


def _line(line: Line, currency: str, zone: ZoneInfo) -> str:
    start, end = utc(line.start).astimezone(zone), utc(line.end).astimezone(zone)
    until = f"{end:%H:%M}" if end.date() == start.date() else f"{end:%Y-%m-%d %H:%M}"
    reserved = "reservation " if line.part == "reservation" else ""
    span = f"{start:%H:%M}" if line.dimension == "FLAT" else f"{start:%H:%M}–{until}"
    what = f"{span} {reserved}{line.dimension} {money(line.price)}{_UNIT[line.dimension]}"
    quantity = _quantity(line.dimension, line.quantity)
    if line.billed_quantity != line.quantity:
        billed = _quantity(line.dimension, line.billed_quantity)
        what += f", rounded up to {billed} by step_size {line.step_size}"
        if line.step_total is not None and line.step_total != line.billed_quantity:
            what += f" ({_quantity(line.dimension, line.step_total)} in all)"
    elif quantity:
        what += f", {quantity}"
    return f"{what} = {_money_of(line, currency)}"


def _money_of(line: Line, currency: str) -> str:
    if line.before is None:
        return f"{money(line.after)} {currency} with unknown taxes in it"
    if line.after is None:
        return f"{money(line.before)} {currency} before unknown taxes"
    if not line.tax:
        return f"{money(line.before)} {currency}"
    rate = "" if line.vat is None else f"{plain(line.vat, 6)} % "
    return f"{money(line.before)} {currency} + {rate}tax {money(line.tax)} = {money(line.after)} {currency}"


def _amount(amount: Amount, currency: str) -> str:
    if amount.before is None:
        return f"{money(amount.after)} {currency} with unknown taxes in it"
    if amount.after is None:
        return f"{money(amount.before)} {currency} before unknown taxes"
    return f"{money(amount.before)} {currency} before and {money(amount.after)} {currency} after taxes"


def money(value: Decimal | None) -> str:
    """With two to six decimals; a dash for what is unknown."""
    if value is None:
        return "–"
    short = plain(value, 6)
    exponent = short.as_tuple().exponent
    places = -exponent if isinstance(exponent, int) else 0
    return f"{short:.{max(2, places)}f}"


def _quantity(dimension: str, quantity: Decimal) -> str:
    if dimension == "FLAT":
        return ""
    if dimension == "ENERGY":
        return f"{plain(quantity / 1000, 6)} kWh"
    return duration(quantity)


def duration(seconds: Decimal) -> str:
    """Such as "2 h 30 min" or "45 s"."""
    whole = int(seconds)
    hours, minutes, rest = whole // 3600, whole % 3600 // 60, plain(seconds - whole + whole % 60, 3)
    words = [f"{hours} h"] if hours else []
    words += [f"{minutes} min"] if minutes else []
    words += [f"{rest} s"] if rest or not words else []
    return " ".join(words)
