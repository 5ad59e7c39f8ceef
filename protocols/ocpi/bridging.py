"""The bridge between OCPI 2.2.1 and 2.3.0, both ways, object by object.

What enters is an object of one version, what leaves is the object of the other one and a list of what could not be
carried over: a loss is never silent. An object that the other version cannot hold at all leaves as None, and the
list says why. It never guesses: prices are converted exactly or said to be lost, and nothing is ever invented but
the name of a hub that gave none.

An object is converted by the rule of its class (the tables at the foot), then field by field; fields that both
versions have are carried over, unknown ones too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from decimal import ROUND_HALF_EVEN, Context, Decimal
from enum import StrEnum
from typing import Final

from domain.errors import ChargeSphereError
from protocols.ocpi import v2_2_1, v2_3_0
from protocols.ocpi.codec import OcpiInvalidError, dump_json, parse_json
from protocols.ocpi.shape import Shape, shapes
from protocols.ocpi.types import JSON, OcpiModel
from protocols.ocpi.v2_2_1 import enums as enums_2_2_1
from protocols.ocpi.v2_3_0 import enums as enums_2_3_0


@dataclass(frozen=True, slots=True)
class Loss:
    """What was lost or changed: its path in the object that entered, its value there, and why."""

    path: str
    value: JSON
    why: str


@dataclass(frozen=True, slots=True)
class Bridged:
    """The object in the other version (None: it has no place there), what was lost, what passed unchanged although
    the other version does not define it (values of an enumeration that is open only in 2.3.0)."""

    value: OcpiModel | None
    lost: tuple[Loss, ...] = ()
    flagged: tuple[Loss, ...] = ()


def upgrade(module: str, value: OcpiModel) -> Bridged:
    """An object of 2.2.1 as 2.3.0 has it. Raises `ValueError` for an object that the module of 2.2.1 has not."""
    _must_belong(value, module, v2_2_1.MODULES, "2.2.1")
    return _Bridge(v2_3_0.OBJECTS, UPGRADES, {}).carry(value)


def downgrade(module: str, value: OcpiModel) -> Bridged:
    """An object of 2.3.0 as 2.2.1 has it. Raises `ValueError` for an object that the module of 2.3.0 has not."""
    _must_belong(value, module, v2_3_0.MODULES, "2.3.0")
    if module not in v2_2_1.MODULES:
        return Bridged(None, (Loss("", dump_json(value), f"2.2.1 has no module {module}"),))
    return _Bridge(v2_2_1.OBJECTS, DOWNGRADES, KNOWN_IN_2_2_1).carry(value)


def _must_belong(
    value: OcpiModel, module: str, modules: Mapping[str, tuple[type[OcpiModel], ...]], version: str
) -> None:
    if type(value) not in (*modules.get(module, ()), *modules["common"]):
        raise ValueError(
            f"{type(value).__module__}.{type(value).__name__} is no object of {module} {version}"
        )


class _NoPlaceError(ChargeSphereError):
    """An object, or a required part of it, that the other version cannot say."""


_Rule = Callable[["_Bridge", dict[str, JSON], str], None]


@dataclass(slots=True)
class _Bridge:
    targets: Mapping[str, type[OcpiModel]]
    rules: Mapping[str, _Rule]
    known: Mapping[str, frozenset[str]]
    lost: list[Loss] = field(default_factory=list)
    flagged: list[Loss] = field(default_factory=list)
    made: set[str] = field(default_factory=set)
    doubtful: list[tuple[dict[str, JSON], str, str]] = field(default_factory=list)

    def carry(self, value: OcpiModel) -> Bridged:
        source = type(value)
        target = self.targets.get(source.__name__)
        whole = dump_json(value)
        if target is None:
            return Bridged(None, (Loss("", whole, "the other version has no such object"),))
        try:
            carried = self.convert(source, target, dump_json(value), "")
            return Bridged(self._read(target, carried), tuple(self.lost), tuple(self.flagged))
        except _NoPlaceError as none:
            return Bridged(None, (*self.lost, Loss("", whole, str(none))), tuple(self.flagged))

    def lose(self, path: str, value: JSON, why: str) -> None:
        if value not in (None, []):
            self.lost.append(Loss(path, value, why))

    def put(self, into: dict[str, JSON], path: str, name: str, value: JSON) -> None:
        """Sets a field that the rule makes; an unknown field of that name gives way and is reported."""
        if name in into and into[name] != value:
            self.lose(
                _join(path, name), into[name], "an unknown field had the name of a field that is made here"
            )
        into[name] = value
        self.made.add(_join(path, name))

    def convert(
        self, source: type[OcpiModel], target: type[OcpiModel], value: dict[str, JSON], path: str
    ) -> dict[str, JSON]:
        had, has = shapes(source), shapes(target)
        if rule := self.rules.get(source.__name__):
            rule(self, value, path)
        carried: dict[str, JSON] = {}
        for name, item in value.items():
            here = _join(path, name)
            if name not in has and name in had:
                self.lose(here, item, "the other version has no such field")
                continue
            if name in had and name in has and item is not None:
                item = self._field(had[name], has[name], item, here)
                if item is None:
                    continue
            carried[name] = item
            if name in has and name not in had and here not in self.made:
                self.doubtful.append((carried, name, here))
        return carried

    def _field(self, had: Shape, has: Shape, value: JSON, path: str) -> JSON:
        if not isinstance(value, list):
            try:
                return self._item(had, has, value, path)
            except _NoPlaceError as none:
                if has.required:
                    raise
                self.lose(path, value, str(none))
                return None
        items: list[JSON] = []
        why = ""
        for index, item in enumerate(value):
            try:
                items.append(self._item(had, has, item, f"{path}[{index}]"))
            except _NoPlaceError as none:
                why = str(none)
                self.lose(f"{path}[{index}]", item, why)
        if not items and value and has.required:
            raise _NoPlaceError(f"{path} has no entry left: {why}")
        return items

    def _item(self, had: Shape, has: Shape, value: JSON, path: str) -> JSON:
        if had.model and has.model and isinstance(value, dict):
            return self.convert(had.model, has.model, value, path) if had.name == has.name else value
        if has.closed_enum and value not in [member.value for member in has.closed_enum]:
            raise _NoPlaceError(f"{has.name} has no {value}")
        if had.is_open_enum and had.name in self.known and value not in self.known[had.name]:
            if had.name == "TokenType" and value == "EMAID":
                self.lose(path, value, "2.2.1 has no EMAID: sent as OTHER")
                return "OTHER"
            self.flagged.append(
                Loss(path, value, f"2.2.1 does not define it as {had.name}: passed unchanged")
            )
        return value

    def _read(self, target: type[OcpiModel], carried: dict[str, JSON]) -> OcpiModel:
        """The object; a field that was unknown before and is wrong as a known one gives way."""
        while True:
            try:
                return parse_json(target, carried)
            except OcpiInvalidError as error:
                if not self.doubtful:
                    raise _NoPlaceError(str(error)) from None
                near = [entry for entry in self.doubtful if error.path.startswith(entry[2])]
                holder, name, path = entry = (near or self.doubtful)[-1]
                self.doubtful.remove(entry)
                self.lose(path, holder.pop(name, None), "the other version has another field of that name")


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _objects(value: JSON) -> list[tuple[int, dict[str, JSON]]]:
    return (
        [(i, item) for i, item in enumerate(value) if isinstance(item, dict)]
        if isinstance(value, list)
        else []
    )


# --- prices ----------------------------------------------------------------------------------------------

_EXACT: Final = Context(prec=120, rounding=ROUND_HALF_EVEN)
_FOUR_DECIMALS: Final = Decimal("0.0001")


def _price_up(bridge: _Bridge, price: dict[str, JSON], path: str) -> None:
    before, total = price.pop("excl_vat"), price.pop("incl_vat", None)
    bridge.put(price, path, "before_taxes", before)
    if isinstance(total, Decimal) and isinstance(before, Decimal):
        vat = _EXACT.subtract(total, before)
        bridge.put(price, path, "taxes", [{"name": "VAT", "amount": vat}] if vat else [])


def _price_down(bridge: _Bridge, price: dict[str, JSON], path: str) -> None:
    before = price.pop("before_taxes")
    bridge.put(price, path, "excl_vat", before)
    if "taxes" not in price:
        return
    taxes = price.pop("taxes")
    total = before
    for _, tax in _objects(taxes):
        amount = tax["amount"]
        if isinstance(total, Decimal) and isinstance(amount, Decimal):
            total = _EXACT.add(total, amount)
    bridge.put(price, path, "incl_vat", total)
    if any(tax.keys() != {"name", "amount"} or tax["name"] != "VAT" for _, tax in _objects(taxes)) or (
        isinstance(taxes, list) and len(taxes) > 1
    ):
        bridge.lose(_join(path, "taxes"), taxes, "2.2.1 knows only the sum of all taxes")


def _limit(bridge: _Bridge, tariff: dict[str, JSON], path: str, names: Mapping[str, str]) -> None:
    for name in ("min_price", "max_price"):
        limit = tariff.get(name)
        if isinstance(limit, dict):
            for old, new in names.items():
                if old in limit:
                    bridge.put(limit, _join(path, name), new, limit.pop(old))


# --- tariffs ---------------------------------------------------------------------------------------------


def _tariff_up(bridge: _Bridge, tariff: dict[str, JSON], path: str) -> None:
    bridge.put(tariff, path, "tax_included", "NO")
    _limit(bridge, tariff, path, {"excl_vat": "before_taxes", "incl_vat": "after_taxes"})


def _tariff_down(bridge: _Bridge, tariff: dict[str, JSON], path: str) -> None:
    included = tariff.pop("tax_included")
    _limit(bridge, tariff, path, {"before_taxes": "excl_vat", "after_taxes": "incl_vat"})
    for i, element in _objects(tariff["elements"]):
        if _for_bookings(element):
            continue
        for j, component in _objects(element["price_components"]):
            here = _join(path, f"elements[{i}].price_components[{j}]")
            if included == "YES":
                _without_tax(bridge, component, here)
            elif included == "N/A":
                bridge.lose(f"{here}.vat", component.pop("vat", None), "no tax applies to the tariff")


def _for_bookings(element: Mapping[str, JSON]) -> bool:
    restrictions = element.get("restrictions")
    return isinstance(restrictions, dict) and restrictions.get("booking") is not None


def _without_tax(bridge: _Bridge, component: dict[str, JSON], path: str) -> None:
    price, vat = component["price"], component.get("vat")
    if not isinstance(price, Decimal) or not price:
        return
    factor = 1 + _EXACT.divide(vat, Decimal(100)) if isinstance(vat, Decimal) else Decimal(0)
    if factor <= 0:
        bridge.lose(f"{path}.price", price, "includes tax at an unknown rate: passed unchanged")
        return
    net = _EXACT.divide(price, factor).quantize(_FOUR_DECIMALS, context=_EXACT)
    if _EXACT.multiply(net, factor) != price:
        bridge.lose(f"{path}.price", price, "without tax it has more than 4 decimals: rounded")
    component["price"] = net


def _element_down(bridge: _Bridge, element: dict[str, JSON], path: str) -> None:
    if _for_bookings(element):
        raise _NoPlaceError("it is a price for bookings, and 2.2.1 would apply it to every charge")


# --- parties ---------------------------------------------------------------------------------------------


def _credentials_up(bridge: _Bridge, credentials: dict[str, JSON], path: str) -> None:
    hubs = [(i, role) for i, role in _objects(credentials["roles"]) if role["role"] == "HUB"]
    for n, (i, role) in enumerate(hubs):
        if n == 0:
            bridge.put(credentials, path, "hub_party_id", f"{role['country_code']}{role['party_id']}")
        else:
            bridge.lose(_join(path, f"roles[{i}].role"), "HUB", "2.3.0 names one hub: sent as OTHER")
        role["role"] = "OTHER"


def _credentials_down(bridge: _Bridge, credentials: dict[str, JSON], path: str) -> None:
    hub = credentials.pop("hub_party_id", None)
    if hub is None:
        return
    own: dict[str, JSON] | None = None
    for i, role in _objects(credentials["roles"]):
        named = f"{role['country_code']}{role['party_id']}"
        if own is None and role["role"] == "OTHER" and named.lower() == str(hub).lower():
            own = role
        else:
            bridge.lose(
                _join(path, f"roles[{i}]"), role, "the role HUB of 2.2.1 is the only one of its platform"
            )
    unnamed: dict[str, JSON] = {
        "country_code": str(hub)[:2],
        "party_id": str(hub)[2:],
        "business_details": {"name": str(hub)},
    }
    credentials["roles"] = [(own or unnamed) | {"role": "HUB"}]


def _role_up(bridge: _Bridge, party: dict[str, JSON], path: str) -> None:
    if party["role"] == "HUB":
        bridge.lose(_join(path, "role"), "HUB", "2.3.0 has no role HUB: sent as OTHER")
        party["role"] = "OTHER"


# --- the tables ------------------------------------------------------------------------------------------

UPGRADES: Final[Mapping[str, _Rule]] = {
    "Price": _price_up,
    "Tariff": _tariff_up,
    "Credentials": _credentials_up,
    "CredentialsRole": _role_up,
    "ClientInfo": _role_up,
}
"""Class of 2.2.1 → what happens to it on the way to 2.3.0, before its fields are carried over."""

DOWNGRADES: Final[Mapping[str, _Rule]] = {
    "Price": _price_down,
    "Tariff": _tariff_down,
    "TariffElement": _element_down,
    "Credentials": _credentials_down,
}
"""Class of 2.3.0 → what happens to it on the way to 2.2.1, before its fields are carried over."""


def _known_in_2_2_1() -> dict[str, frozenset[str]]:
    known = {}
    for name, enum in vars(enums_2_3_0).items():
        if isinstance(enum, type) and issubclass(enum, StrEnum) and enum is not StrEnum:
            older: type[StrEnum] = getattr(enums_2_2_1, name, enum)
            known[name] = frozenset(member.value for member in older)
    return known


KNOWN_IN_2_2_1: Final[Mapping[str, frozenset[str]]] = _known_in_2_2_1()
"""Enumeration → the values that 2.2.1 defines."""
