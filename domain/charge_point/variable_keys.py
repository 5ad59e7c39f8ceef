"""Which configuration variables are more than a value: secrets, the password, the heartbeat interval."""

from __future__ import annotations

_SECRETS = (
    "authorizationkey",
    "password",
    "passwd",
    "passphrase",
    "passcode",
    "pincode",
    "secret",
    "privatekey",
    "sharedkey",
    "accesskey",
    "encryptionkey",
    "apikey",
    "credential",
    "accesstoken",
    "authtoken",
    "bearertoken",
)
_SECRET_ENDS = ("pwd", "psk", "simpin")
"""Too short to be looked for inside a key."""


def folded(key: str) -> str:
    """By which a variable is known: keys have no case (OCPP 1.6, 9)."""
    return key.casefold()


def is_secret_key(key: str) -> bool:
    """Whether this configuration key holds a secret: AuthorizationKey (SEC-04), and what vendors call so."""
    plain = "".join(character for character in key.casefold() if character.isalnum())
    return any(word in plain for word in _SECRETS) or plain.endswith(_SECRET_ENDS)


def is_password_key(key: str) -> bool:
    """Whether this configuration key holds the password by which the charge point logs in (SEC-03)."""
    return folded(key) == "authorizationkey"


def is_heartbeat_key(key: str) -> bool:
    """Whether it holds the heartbeat interval, which the answer to a boot tells too."""
    return folded(key) == "heartbeatinterval"
