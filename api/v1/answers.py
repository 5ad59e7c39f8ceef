"""What each route answers: a schema and an example by method, path and status, as its tests were answered."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import msgspec

FILE: Final = Path(__file__).with_suffix(".json")
ANSWERS: Final[dict[str, dict[str, Any]]] = msgspec.json.decode(FILE.read_bytes())
