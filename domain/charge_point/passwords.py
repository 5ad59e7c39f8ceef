"""A charge point's password enters with a salt, a scrypt text leaves; and a password is held against such a text.

An OCPP AuthorizationKey (16 to 20 random bytes) may come as those bytes or as its 32 to 40 hex digits: both are the
same password (SEC-02). It is random and long, so a light scrypt serves, and ten thousand charge points can come back
at once; anything else may be a word that somebody chose and gets a heavy one. It draws no salt of its own.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

_HEX = re.compile(rb"(?:[0-9A-Fa-f]{2}){16,20}\Z")
_KEY_COST, _WORD_COST = 10, 14  # log2 of scrypt's N; r = 8, p = 1
_LENGTH = 32


def canonical(password: bytes) -> bytes:
    """The bytes that are hashed: hex digits of an AuthorizationKey are decoded."""
    return bytes.fromhex(password.decode()) if is_key(password) else password


def hash_password(password: bytes, salt: bytes) -> str:
    """`scrypt$cost$salt$hash`; the salt is 16 random bytes, the password at least one."""
    known = canonical(password)
    cost = _KEY_COST if is_key(password) else _WORD_COST
    return f"scrypt${cost}${_text(salt)}${_text(_scrypt(known, salt, cost))}"


def is_key(password: bytes) -> bool:
    """Whether it is an AuthorizationKey, which gets the light hash."""
    return _HEX.match(password) is not None


def is_heavy(stored: str) -> bool:
    """Whether a password that is held against this text costs the heavy hash."""
    cost = stored.split("$")[1:2]
    return cost != [str(_KEY_COST)]


def verify_password(password: bytes, stored: str) -> bool:
    """Whether this is the password; constant time in the comparison. False for a text that is no hash."""
    parts = stored.split("$")
    if len(parts) != 4 or parts[0] != "scrypt" or not parts[1].isdigit() or not 1 <= int(parts[1]) <= 20:
        return False
    try:
        salt, wanted = _bytes(parts[2]), _bytes(parts[3])
    except ValueError:
        return False
    return hmac.compare_digest(_scrypt(canonical(password), salt, int(parts[1])), wanted)


def _scrypt(password: bytes, salt: bytes, cost: int) -> bytes:
    # scrypt alone takes a password and the same one with zero bytes behind it for equal (HMAC pads its key so).
    digest = hashlib.sha256(password).digest()
    return hashlib.scrypt(digest, salt=salt, n=1 << cost, r=8, p=1, maxmem=1 << 28, dklen=_LENGTH)


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def _bytes(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
