"""JSON Web Tokens of `/api/v1`: HS256, claims `sub, role, tenant, iat, exp, iss`. It knows no route and no store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import jwt

from application.principal import BadTokenError, Principal
from domain.access import ROLES, Grant, Role
from domain.subject import LONGEST_SUBJECT
from domain.tenant import TENANT_ID

ISSUER: Final = "chargesphere"
LIFETIME: Final = timedelta(hours=12)
LEEWAY: Final = 60
"""Seconds by which the clock of who signs may be ahead."""
LONGEST: Final = LIFETIME.total_seconds()
_ALGORITHM = "HS256"


def issue_token(
    key: bytes,
    role: str,
    tenant: str | None,
    now: datetime,
    *,
    subject: str = "",
) -> str:
    """A token for a role. Raises ValueError for an unknown role, a tenant that is missing or too much, or a subject
    that is too long."""
    known = ROLES.get(role)
    if known is None:
        raise ValueError(f"role {role!r} is not one of {', '.join(ROLES)}")
    if (known is Role.PLATFORM_ADMIN) == (tenant is not None):
        raise ValueError("a platform_admin has no tenant, every other role has one")
    if tenant is not None and not TENANT_ID.fullmatch(tenant):
        raise ValueError(f"tenant {tenant!r} must be 1 to 32 of a-z, 0-9 and -")
    if len(subject) > LONGEST_SUBJECT:
        raise ValueError(f"the subject has {len(subject)} characters; {LONGEST_SUBJECT} are possible")
    claims: dict[str, object] = {
        "iss": ISSUER,
        "sub": subject or role,
        "role": role,
        "iat": int(now.timestamp()),
        "exp": int((now + LIFETIME).timestamp()),
    }
    if tenant is not None:
        claims["tenant"] = tenant
    return jwt.encode(claims, key, _ALGORITHM)


def verify_token(token: str, keys: Sequence[bytes], now: datetime) -> Principal:
    """Who the token speaks for; any of the keys may have signed it. Raises BadTokenError."""
    claims = _claims(token, keys)
    expires, issued = claims["exp"], claims["iat"]
    if type(expires) is not int or type(issued) is not int:
        raise BadTokenError("the token is not valid here")
    if expires <= now.timestamp():
        raise BadTokenError("the token has expired")
    if issued > now.timestamp() + LEEWAY:
        raise BadTokenError("the token is not valid yet")
    if expires > now.timestamp() + LIFETIME.total_seconds() + LEEWAY or expires - issued > LONGEST:
        raise BadTokenError(
            f"the token is valid for too long: at most {LIFETIME.total_seconds() / 3600:g} hours"
        )
    until = datetime.fromtimestamp(expires, UTC)
    role = ROLES.get(claims["role"]) if isinstance(claims["role"], str) else None
    tenant = claims.get("tenant")
    if role is None:
        raise BadTokenError("the token has an unknown role")
    if role is Role.PLATFORM_ADMIN:
        if tenant is not None:
            raise BadTokenError("a platform_admin's token has no tenant")
    elif not isinstance(tenant, str) or not TENANT_ID.fullmatch(tenant):
        raise BadTokenError("the token has no tenant")
    subject = str(claims["sub"])
    if not 0 < len(subject) <= LONGEST_SUBJECT:  # nobody could revoke it
        raise BadTokenError(f"the token's subject must have 1 to {LONGEST_SUBJECT} characters")
    return Principal(
        subject=subject,
        tenant=tenant if isinstance(tenant, str) else None,
        grant=Grant(role=role.text),
        issued_at=datetime.fromtimestamp(issued, UTC),
        expires_at=until,
    )


def _claims(token: str, keys: Sequence[bytes]) -> dict[str, object]:
    options: jwt.types.Options = {
        "require": ["exp", "iat", "iss", "sub", "role"],
        "verify_exp": False,
        "verify_iat": False,
    }
    for key in keys:
        try:
            claims: dict[str, object] = jwt.decode(
                token, key, algorithms=[_ALGORITHM], issuer=ISSUER, options=options
            )
        except jwt.InvalidSignatureError:
            continue
        except jwt.PyJWTError:
            break
        return claims
    raise BadTokenError("the token is not valid here")
