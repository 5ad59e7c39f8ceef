"""Personal data and secrets: keyed digests for finding, sealed texts for keeping.

Each subject (a token of one owner, a partner, a charge point) has a data key of its own, wrapped by the master key
and kept outside the log. A sealed text is AES-256-GCM under that key, bound to its subject; destroying the key leaves
every copy in commands, events, states and read models unreadable. The master key itself encrypts nothing else.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import hmac
import os
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Callable

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from domain.errors import ChargeSphereError
from domain.values import Sealed
from projections.erasure import COLLECTION, DATABASE, remove_key
from projections.store import Insert, ReadStore, StoreUnavailableError

CACHED = 100_000
CACHED_SECONDS = 300.0
"""How long a process may still open what another one has made unreadable."""
TOKEN_TYPES = ("RFID", "OTHER", "APP_USER", "AD_HOC_USER", "EMAID")
"""The types under which an id tag is looked for, in this order."""


class DestroyedError(ChargeSphereError):
    """The subject's key was destroyed: nothing can be sealed for it any more."""


class MasterKeyError(ChargeSphereError):
    """A data key does not open under this master key: another one wrapped it."""


class KeyStore(ABC):
    """Where wrapped data keys are kept. May raise the read store's StoreUnavailableError."""

    @abstractmethod
    async def get(self, subject: str) -> str | None:
        """The wrapped key."""

    @abstractmethod
    async def create(self, subject: str, wrapped: str) -> str:
        """Keep this key unless there is one; returns the one that is kept. Raises DestroyedError."""

    @abstractmethod
    async def destroy(self, subject: str) -> None:
        """Take it away for good."""


class StoreKeys(KeyStore):
    """Keys in a database of their own beside the read models, which no rebuild drops."""

    def __init__(self, store: ReadStore) -> None:
        self._store = store

    async def get(self, subject: str) -> str | None:
        document = await self._store.get(DATABASE, COLLECTION, subject)
        return None if document is None else str(document["wrapped"])

    async def create(self, subject: str, wrapped: str) -> str:
        insert = Insert(DATABASE, COLLECTION, subject, {"wrapped": wrapped})
        if (await self._store.apply([insert])).applied:
            return wrapped
        kept = await self.get(subject)
        if kept is None:
            raise DestroyedError(f"the key of {subject} was destroyed")
        return kept

    async def destroy(self, subject: str) -> None:
        await self._store.apply([remove_key(subject)])


class Vault:
    """Seals and opens texts; digests ids."""

    def __init__(
        self, master_key: bytes, keys: KeyStore, *, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        if len(master_key) < 32:
            raise ValueError("the master key needs at least 32 bytes")
        self._keys = keys
        self._monotonic = monotonic
        self._wrap = AESGCM(self._derive(master_key, b"chargesphere wrap"))
        self._digest_key = self._derive(master_key, b"chargesphere digest")
        self._cache: OrderedDict[str, tuple[float, AESGCM]] = OrderedDict()

    def digest(self, kind: str, text: str) -> str:
        """A keyed hash of 128 bits as hex: equal for equal texts, and nothing can be read from it."""
        return hmac.digest(self._digest_key, f"{kind}|{text}".encode(), "sha256").hex()[:32]

    def token_key(self, type: str, uid: str) -> str:
        """The key of a token: of its type and uid, whose case does not matter."""
        return self.digest("token", f"{type}|{uid.casefold()}")

    def tag_keys(self, id_tag: str) -> tuple[str, ...]:
        """The keys under which an id tag may be known, RFID first."""
        return tuple(self.token_key(type, id_tag) for type in TOKEN_TYPES)

    def subject(self, owner: str, key: str) -> str:
        """For whom the texts of a token are sealed: each owner has a key of its own, so that one who erases what it
        knows of a uid takes nothing from the others. `owner` as `domain.token.owner_text`."""
        return self.digest("subject", f"{owner}|{key}")

    def subjects_of(self, owner: str, uid: str) -> tuple[str, ...]:
        """All that an owner may have sealed of a uid, of whatever type."""
        return tuple(self.subject(owner, key) for key in self.tag_keys(uid))

    def at_hand(self, subject: str) -> bool:
        """Whether sealing and opening for the subject needs no read now."""
        cached = self._cache.get(subject)
        return cached is not None and self._monotonic() - cached[0] < CACHED_SECONDS

    async def fetch(self, subject: str) -> None:
        """Have the subject's key at hand, if there is one; where the store is away, who needs the key is told."""
        with contextlib.suppress(StoreUnavailableError):
            await self._key(subject, create=False)

    async def seal(self, subject: str, plain: bytes | str) -> Sealed:
        """Seal a text for a subject; subjects are opaque ids without dots."""
        key = await self._key(subject, create=True)
        if key is None:
            raise DestroyedError(f"the key of {subject} was destroyed")
        nonce = os.urandom(12)
        data = plain.encode() if isinstance(plain, str) else plain
        body = base64.urlsafe_b64encode(nonce + key.encrypt(nonce, data, subject.encode())).decode()
        return f"s1.{subject}.{body}"

    async def open(self, sealed: Sealed) -> bytes | None:
        """The text; None where it is empty, damaged, or its key was destroyed."""
        version, _, rest = sealed.partition(".")
        subject, _, body = rest.partition(".")
        if version != "s1" or not body:
            return None
        key = await self._key(subject, create=False)
        if key is None:
            return None
        try:
            data = base64.urlsafe_b64decode(body)
            return key.decrypt(data[:12], data[12:], subject.encode())
        except (InvalidTag, binascii.Error, ValueError):
            return None

    async def check(self) -> None:
        """Raises MasterKeyError where another master key was used before."""
        await self.seal("canary", b"canary")

    async def destroy(self, subject: str) -> None:
        """Make everything sealed for the subject unreadable, for good."""
        await self._keys.destroy(subject)
        self._cache.pop(subject, None)

    async def _key(self, subject: str, *, create: bool) -> AESGCM | None:
        cached = self._cache.get(subject)
        if cached is not None and self._monotonic() - cached[0] < CACHED_SECONDS:
            self._cache.move_to_end(subject)
            return cached[1]
        asked = self._monotonic()
        try:
            wrapped = await self._keys.get(subject)
        except StoreUnavailableError:
            if cached is not None:
                return cached[1]  # charge points go on being served while the store is away
            raise
        self._cache.pop(subject, None)
        if wrapped is None:
            if not create:
                return None
            nonce = os.urandom(12)
            fresh = nonce + self._wrap.encrypt(nonce, AESGCM.generate_key(256), subject.encode())
            wrapped = await self._keys.create(subject, base64.b64encode(fresh).decode())
        data = base64.b64decode(wrapped)
        try:
            key = AESGCM(self._wrap.decrypt(data[:12], data[12:], subject.encode()))
        except InvalidTag:
            raise MasterKeyError(f"the key of {subject} was wrapped by another master key") from None
        self._cache[subject] = (asked, key)
        if len(self._cache) > CACHED:
            self._cache.popitem(last=False)
        return key

    @staticmethod
    def _derive(master_key: bytes, info: bytes) -> bytes:
        return HKDF(SHA256(), 32, salt=None, info=info).derive(master_key)
