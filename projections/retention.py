"""How long what is over can be read: a document goes a fixed time after its `over_at`; the log keeps it for ever."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from domain.clock import earlier
from projections.moment import utc_text
from projections.store import Document

KEEP_S: Final = 730 * 86_400
"""In seconds: as long as readings by default."""
_SURELY_THERE: Final = timedelta(seconds=KEEP_S, days=-1)
"""A store looks at its own clock, and when it likes."""


def unless_gone(document: Document | None, at: datetime) -> Document | None:
    """The document that an event of this time is folded into; None where it has been over for so long that a store
    may have taken it away: what comes after all begins it anew then, in a rebuild too, where it still stands."""
    over_at = None if document is None else document.get("over_at")
    gone = isinstance(over_at, str) and over_at <= (utc_text(earlier(at, _SURELY_THERE)) or "")
    return None if gone else document
