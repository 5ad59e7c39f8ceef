"""What a job does for each of its items: one value a kind of work, of which jobs themselves know nothing.

Another kind is one more value here, a line in `commands.processes.job` that makes its commands, and one in
`projections.job` that shows it.
"""

from __future__ import annotations

import re
from typing import Final, TypeAlias

from domain.intents import Intent
from domain.values import Value


class RemoteCommandWork(Value, frozen=True, kw_only=True, tag_field="kind", tag="remote_command"):
    """A remote command to each charge point. `expiry_s` is how long one may wait to be sent, in seconds.

    Texts of the intent that are personal or secret are sealed. `by` asked for it; `override` as of a remote command.
    """

    command_type: str
    intent: Intent
    expiry_s: int
    override: bool = False
    by: str


Work: TypeAlias = RemoteCommandWork


_STEP: Final = re.compile(r"job-[0-9a-f]{32}-[0-9]+-[0-9]+")


def step_id(listing: str, item: int, attempt: int) -> str:
    """The id of what is done for an item at an attempt: of its remote command."""
    return f"job-{listing}-{item}-{attempt}"


def is_step_id(id: str) -> bool:
    """Whether it is the id of an item's work, which nobody else may take: its listing is 32 hexadecimal digits."""
    return _STEP.fullmatch(id) is not None
