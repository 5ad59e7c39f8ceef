"""How many examples a law is tried with, by Hypothesis's profile: few in the inner loop, many in the drills.

`--hypothesis-profile=loop` is `make quick`, `--hypothesis-profile=drills` is `make drills`; any other is `make test`.
"""

from __future__ import annotations

from typing import Final

from hypothesis import settings

PROFILES: Final = {"loop": (0.05, 2), "drills": (4.0, 0)}
"""Share of the examples that a law is worth, and the least."""
USUAL: Final = (1 / 3, 20)

for _name, (_share, _) in PROFILES.items():
    settings.register_profile(_name, max_examples=round(100 * _share), deadline=None)


def tried(count: int) -> int:
    """Of a law that is worth `count` examples: the profile's share, or its least where the law is worth as many."""
    share, least = PROFILES.get(settings.get_current_profile_name(), USUAL)
    return max(round(count * share), min(count, least))
