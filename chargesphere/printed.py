"""What operations print of the log: facts enter, the same without secrets leaves.

A password's hash, a partner's token and a key's value are for nobody's eyes, whatever is asked for. The names of our
nodes, and the addresses of charge points and of keys, are for who asks for them. Personal data is sealed in the log
already.
"""

from __future__ import annotations

import re
from ipaddress import ip_network
from typing import Final

from domain.charge_point.variable_keys import is_secret_key
from projections.store import JSON

HIDDEN: Final = "***"
SECRETS: Final = frozenset(
    (
        "password",
        "password_hash",
        "alternative_hash",
        "token_a",
        "token_b",
        "token_c",
        "their_token_a",
        "previous_c",
        "pending_c",
        "secret_digest",
        "previous_digest",
    )
)
NODE: Final = ("node", "slot", "boot")
"""Where a charge point is connected; they stand together. What else is named `slot` is not meant."""
ADDRESS: Final = ("address", "addresses")
_LOGIN: Final = re.compile(r"([a-z][a-z0-9+.-]*://)[^/?#\s]*@", re.IGNORECASE)


def printable(value: JSON, *, addresses: bool = False) -> JSON:
    """The value without secrets, and without nodes and addresses unless they are asked for."""
    match value:
        case dict():
            of_node = not value.keys().isdisjoint(("node", "boot"))
            return {
                name: HIDDEN if item and _is_secret(name, value) else printable(item, addresses=addresses)
                for name, item in value.items()
                if addresses or not ((of_node and name in NODE) or (name in ADDRESS and _is_address(item)))
            }
        case list():
            return [printable(item, addresses=addresses) for item in value]
        case str():
            return _LOGIN.sub(rf"\1{HIDDEN}@", value)
        case _:
            return value


def _is_address(item: JSON) -> bool:
    """Of machines; a street has one too."""
    if isinstance(item, list):
        return any(map(_is_address, item))
    try:
        ip_network(str(item), strict=False)
    except ValueError:
        return False
    return True


def _is_secret(name: str, beside: dict[str, JSON]) -> bool:
    return name in SECRETS or (name == "value" and is_secret_key(str(beside.get("key", ""))))
