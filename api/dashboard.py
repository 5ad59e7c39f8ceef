"""The dashboard at `/`: one page without any outside resource, which reads `/api/v1` with a token pasted into it.

The page holds no data of its own. Its policy lets it load nothing and call nobody but this server.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fastapi import APIRouter, Response

from api.page import policy_of

PAGE: Final = (Path(__file__).parent / "dashboard.html").read_text(encoding="utf-8")
HEADERS: Final = policy_of(PAGE)


def dashboard_router() -> APIRouter:
    """`GET /`."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(PAGE, 200, HEADERS, "text/html")

    return router
