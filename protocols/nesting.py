"""How deep a JSON text nests, told before anything reads it: readers, stores and logs give up at their own depths."""

from __future__ import annotations

import re
from typing import Final

DEEPEST: Final = 32
"""What is taken from outside: less than any part behind the doors can hold."""
_STRUCTURE: Final = re.compile(rb'"(?:[^"\\]|\\.)*+"?|[\[{\]}]', re.DOTALL)


def nests_deeper(json: bytes | bytearray, depth: int = DEEPEST) -> bool:
    """Whether arrays and objects nest deeper than that, whatever else is wrong with the text."""
    if json.count(b"[") + json.count(b"{") <= depth:
        return False
    level = 0
    for found in _STRUCTURE.finditer(json):
        match found[0]:
            case b"[" | b"{":
                level += 1
                if level > depth:
                    return True
            case b"]" | b"}":
                level -= 1
    return False
