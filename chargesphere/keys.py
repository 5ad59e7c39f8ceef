"""`chargesphere keys`: makes, lists and revokes API keys through a running `serve` or `api`, as a platform admin.

It signs a token of its own with the installation's secret and asks `/api/v1/keys`, so that there is one way to a key.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from typing import Any

import httpx
from rich.console import Console
from rich.table import Column, Table

from api.auth import issue_token
from chargesphere.errors import CannotBeginError
from chargesphere.settings import read_settings, signing_secret

SUBJECT = "command line"
"""As the audit shows it, behind `platform_admin:`."""
URL = "http://127.0.0.1:8080"
PATIENCE = 30.0
COLUMNS = ("id", "tenant_id", "name", "role", "scopes", "state", "created_by", "last_used_at", "expires_at")


async def keys(options: argparse.Namespace) -> int:
    """Raises CannotBeginError where nothing answers; 1 where it was refused."""
    settings = read_settings()
    token = issue_token(
        signing_secret(settings, options.data), "platform_admin", None, datetime.now(UTC), subject=SUBJECT
    )
    url = (options.url or settings.public_url or URL).rstrip("/")
    headers = {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(
        base_url=f"{url}/api/v1", headers=headers, timeout=PATIENCE, trust_env=False
    ) as api:
        try:
            return await _ACTIONS[options.action](api, options)
        except httpx.HTTPError as error:
            raise CannotBeginError(
                f"nothing answers at {url} ({type(error).__name__}): name a running `serve` or `api` with --url"
            ) from None


async def _create(api: httpx.AsyncClient, options: argparse.Namespace) -> int:
    body = {"name": options.name, "role": options.role, "scopes": options.scope, "addresses": options.address}
    if options.expires:
        body["expires_at"] = options.expires
    answer = await api.post("/keys", params=_tenant(options), json=body)
    if answer.status_code != 201:
        return _refused(answer)
    made = answer.json()
    print(made["key"])
    print(f"key {made['id']}: it is shown this once", file=sys.stderr)
    return 0


async def _list(api: httpx.AsyncClient, options: argparse.Namespace) -> int:
    table = Table(*(Column(name, overflow="fold") for name in COLUMNS))
    query = {**_tenant(options), "limit": "500"}
    while True:
        answer = await api.get("/keys", params=query)
        if answer.status_code != 200:
            return _refused(answer)
        page = answer.json()
        for key in page["items"]:
            table.add_row(*(_text(key[name]) for name in COLUMNS))
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    # Ids must be fit for copying: only a terminal is as narrow as it is.
    console = Console(width=None if sys.stdout.isatty() else 400, markup=False, emoji=False)
    console.print(table if table.row_count else "no keys")
    return 0


async def _revoke(api: httpx.AsyncClient, options: argparse.Namespace) -> int:
    answer = await api.delete(f"/keys/{options.id}", params=_tenant(options))
    if answer.status_code != 204:
        return _refused(answer)
    print("revoked: within 10 s it opens nothing at any process")
    return 0


_ACTIONS = {"create": _create, "list": _list, "revoke": _revoke}


def _tenant(options: argparse.Namespace) -> dict[str, str]:
    return {"tenant": options.tenant} if options.tenant else {}


def _text(value: Any) -> str:
    return ", ".join(value) if isinstance(value, list) else "" if value is None else str(value)


def _refused(answer: httpx.Response) -> int:
    try:
        detail = str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        detail = f"HTTP {answer.status_code}"
    print(f"chargesphere: {detail}", file=sys.stderr)
    return 1
