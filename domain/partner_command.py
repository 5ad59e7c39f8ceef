"""A remote command that a partner asked for by OCPI: who asks, and what is told to it once that is known."""

from __future__ import annotations

from collections.abc import Iterable

from domain.values import PartyId, Sealed, Value


class Asker(Value, frozen=True, kw_only=True):
    """The party that asked and the platform that spoke for it then, by which command of OCPI; `of` is the party of
    ours that was asked. What became of it goes to `response_url`, sealed for the partner."""

    partner_id: str
    holder: str
    party: PartyId
    of: PartyId
    command: str
    response_url: Sealed


class CommandOutcome(Value, frozen=True, kw_only=True):
    """What became of it, for whoever asked: as `RemoteCommandConcluded` says."""

    asker: Asker
    status: str
    reason: str = ""
    unreached: bool = False
    obstacle: str = ""


def tells_token_in_clear(response_url: str, endpoints: Iterable[str]) -> bool:
    """Whether our token for a partner, which goes with every call, would travel in the clear to this URL, though all
    of the partner's endpoints are called by https."""
    return not _is_encrypted(response_url) and all(map(_is_encrypted, endpoints))


def _is_encrypted(url: str) -> bool:
    return url.lower().startswith("https:")
