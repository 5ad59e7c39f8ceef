"""HTTP Basic credentials of a handshake enter; whether they are right leaves (SEC-01, SEC-02, SEC-04).

The slow hash runs on threads of its own; its results are remembered under a digest with a key of this process, so
that the second handshake of a charge point costs microseconds. It never keeps or logs a password.
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

from domain.charge_point.passwords import canonical, hash_password, verify_password

_MOST = 50_000
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
    """Verifies passwords; one instance a process."""

    def __init__(self, threads: int = 2) -> None:
        self._key = secrets.token_bytes(32)
        self._known: OrderedDict[bytes, bool] = OrderedDict()
        self._threads = ThreadPoolExecutor(threads, "scrypt")
        # What an unknown charge point is held against, so that it costs the time of a known one.
        self._nobody = {
            key: hash_password(secrets.token_hex(20).encode() if key else b"nobody", secrets.token_bytes(16))
            for key in (False, True)
        }

    async def verify(self, password: bytes, stored: str) -> bool:
        """Whether this is the password that was stored."""
        digest = hmac.digest(self._key, stored.encode() + b"\0" + password, hashlib.sha256)
        known = self._known.get(digest)
        if known is None:
            loop = asyncio.get_running_loop()
            known = await loop.run_in_executor(self._threads, verify_password, password, stored)
            self._known[digest] = known
            if len(self._known) > _MOST:
                self._known.popitem(last=False)
        return known

    async def verify_nobody(self, password: bytes) -> None:
        """Take as long as `verify` would for a charge point that is known."""
        await self.verify(password, self._nobody[canonical(password) != password])

    async def hash(self, password: bytes) -> str:
        """The text to store for a new password."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, hash_password, password, secrets.token_bytes(16))

    def close(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)
