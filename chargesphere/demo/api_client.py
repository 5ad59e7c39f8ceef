"""A client of `/api/v1`, as an operator's own programs would have it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any

import httpx

from domain.errors import ChargeSphereError

TRIES = 40


class ApiFailedError(ChargeSphereError):
    """The API did not answer, or not as expected; the message holds its own words."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class ApiClient:
    """`token` is called for each request, so that it may be a new one."""

    def __init__(self, url: str, token: Callable[[], str]) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._http = httpx.AsyncClient(timeout=15, trust_env=False)

    async def ask(
        self,
        method: str,
        path: str,
        body: Mapping[str, object] | None = None,
        *,
        tenant: str | None = None,
        query: Mapping[str, str] | None = None,
    ) -> dict[str, Any]:
        """The JSON object of an answer below 300. Too busy or away (429, 503) is tried again for 20 s."""
        parameters = {**(query or {}), **({"tenant": tenant} if tenant else {})}
        for attempt in range(1, TRIES + 1):
            try:
                response = await self._http.request(
                    method,
                    f"{self.url}/api/v1{path}",
                    json=body,
                    params=parameters,
                    headers={"Authorization": f"Bearer {self._token()}"},
                )
            except httpx.HTTPError as error:
                if attempt == TRIES:
                    raise ApiFailedError(0, f"{method} {path}: {type(error).__name__} {error}") from None
            else:
                if response.status_code < 300:
                    return response.json() if response.content else {}
                if response.status_code not in (429, 503) or attempt == TRIES:
                    text = f"{method} {path}: HTTP {response.status_code} {response.text[:300]}"
                    raise ApiFailedError(response.status_code, text)
            await asyncio.sleep(0.5)
        raise AssertionError("the last try returns or raises")

    async def every(self, path: str, *, tenant: str | None = None) -> list[dict[str, Any]]:
        """All items of a list, page by page."""
        items: list[dict[str, Any]] = []
        query = {"limit": "500"}
        while True:
            page = await self.ask("GET", path, tenant=tenant, query=query)
            items.extend(page["items"])
            if not page.get("next_cursor"):
                return items
            query["cursor"] = str(page["next_cursor"])

    async def close(self) -> None:
        await self._http.aclose()
