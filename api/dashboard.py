"""The dashboard at `/`: one page without any outside resource, which reads `/api/v1` with a token pasted into it.

The page holds no data of its own. Its policy lets it load nothing and call nobody but this server.
"""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path
from typing import Final

from fastapi import APIRouter, Response

PAGE: Final = (Path(__file__).parent / "dashboard.html").read_text(encoding="utf-8")


def _hashes(tag: str) -> str:
    """What the policy allows of this page's own scripts or styles."""
    texts = re.findall(rf"<{tag}>(.*?)</{tag}>", PAGE, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)


HEADERS: Final = {
    "Content-Security-Policy": (
        f"default-src 'none'; connect-src 'self'; script-src {_hashes('script')}; style-src {_hashes('style')}; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-cache",
}


def dashboard_router() -> APIRouter:
    """`GET /`."""
    router = APIRouter()

    @router.get("/", include_in_schema=False)
    async def page() -> Response:
        return Response(PAGE, 200, HEADERS, "text/html")

    return router
