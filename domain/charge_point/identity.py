"""What a charge point may be called: whatever its URL and ours can carry as one part (J-01, J-02)."""

from __future__ import annotations

from typing import Final

LONGEST_ID: Final = 48


def wrong_id(id: str) -> str:
    """What is wrong with the id; empty for nothing. Spaces inside and letters of any script are allowed."""
    if not 0 < len(id) <= LONGEST_ID:
        return f"must have 1 to {LONGEST_ID} characters"
    if not id.isprintable() or id != id.strip():
        return "must have printable characters only, and no space at its ends"
    if "/" in id or ":" in id or id in (".", ".."):
        return "must have no slash and no colon, and be no dots alone"
    return ""
