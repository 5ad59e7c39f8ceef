"""HTTP Basic credentials of a handshake enter; whether they are right leaves (SEC-01, SEC-02, SEC-04).

The hashes run on threads of their own, those of chosen words, which are slow, apart from those of random keys. Their
results are remembered under a digest with a key of this process, so that the second handshake of a charge point costs
microseconds. It never keeps or logs a password.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from domain.charge_point.passwords import hash_password, is_heavy, is_key, verify_password

KEY_THREADS, WORD_THREADS = 2, 1
"""Light and heavy hashes at once, each on threads of their own: the door takes no more of a machine than this."""
MOST = 50_000
"""Passwords that are remembered as right, and as many as wrong."""
_LONGEST = 512


def parse_basic(header: str | None) -> tuple[str, bytes] | None:
    """User and password bytes of an `Authorization: Basic` header; the password may be any bytes (SEC-02)."""
    if header is None:
        return None
    scheme, _, encoded = header.strip().partition(" ")
    if scheme.lower() != "basic" or len(encoded) > _LONGEST:
        return None
    try:
        user, colon, password = base64.b64decode(encoded.strip(), validate=True).partition(b":")
        return (user.decode(), password) if colon and password else None
    except (binascii.Error, UnicodeDecodeError, ValueError):
        return None


class Credentials:
    """Verifies passwords; one instance a process.

    A password that was right is remembered until as many others were right after it; wrong ones are remembered apart
    from them, so that whoever guesses pushes nobody out.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._key = secrets.token_bytes(32)
        self._right: OrderedDict[bytes, None] = OrderedDict()
        self._wrong: OrderedDict[bytes, None] = OrderedDict()
        self._keys = ThreadPoolExecutor(KEY_THREADS, "scrypt-keys")
        self._words = ThreadPoolExecutor(WORD_THREADS, "scrypt-words")

    def known(self, password: bytes, stored: str) -> bool | None:
        """Whether this is the password that was stored, as far as it is known without a hash."""
        digest = self._digest(password, stored)
        if digest in self._right:
            self._right.move_to_end(digest)
            return True
        return False if digest in self._wrong else None

    async def verify(self, password: bytes, stored: str) -> bool:
        """Whether this is the password that was stored."""
        known = self.known(password, stored)
        if known is None:
            loop, threads = asyncio.get_running_loop(), self._words if is_heavy(stored) else self._keys
            known = await loop.run_in_executor(threads, verify_password, password, stored)
            self._remember(self._right if known else self._wrong, self._digest(password, stored))
        return known

    async def hash(self, password: bytes) -> str:
        """The text to store for a new password."""
        loop, threads = asyncio.get_running_loop(), self._keys if is_key(password) else self._words
        return await loop.run_in_executor(threads, hash_password, password, secrets.token_bytes(16))

    def close(self) -> None:
        for threads in (self._keys, self._words):
            threads.shutdown(wait=False, cancel_futures=True)

    def _digest(self, password: bytes, stored: str) -> bytes:
        return hmac.digest(self._key, stored.encode() + b"\0" + password, hashlib.sha256)

    def _remember(self, digests: OrderedDict[bytes, None], digest: bytes) -> None:
        digests[digest] = None
        if len(digests) > self._most:
            digests.popitem(last=False)
