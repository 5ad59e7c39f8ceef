"""The headers of a page that loads nothing from elsewhere and calls nobody but this server."""

from __future__ import annotations

import base64
import hashlib
import re


def policy_of(page: str) -> dict[str, str]:
    """For a page with its scripts and styles inside."""
    return {
        "Content-Security-Policy": (
            f"default-src 'none'; connect-src 'self'; script-src {_hashes(page, 'script')}; "
            f"style-src {_hashes(page, 'style')}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        ),
        "Referrer-Policy": "no-referrer",
        "X-Content-Type-Options": "nosniff",
        "Cache-Control": "no-cache",
    }


def _hashes(page: str, tag: str) -> str:
    """What the policy allows of the page's own scripts or styles."""
    texts = re.findall(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)
    digests = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in texts)
    return " ".join(f"'sha256-{digest}'" for digest in digests)
