"""The token of a session or CDR that somebody else pushed, and who is told of it."""

from __future__ import annotations

from domain.values import PartyId, Sealed, Value


class Bearer(Value, frozen=True, kw_only=True):
    """`owner` is the token's party, `holder` the platform that spoke for it then (`domain.partner.holder_text`), or
    `tenant` one of ours whose party it is.

    `sealed` is OCPI's CdrToken, empty where its key was destroyed. `key` and `fingerprint` are keyed hashes: of type
    and uid, and of the whole.
    """

    owner: PartyId
    holder: str = ""
    tenant: str = ""
    key: str
    token_type: str
    sealed: Sealed
    fingerprint: str

    @property
    def told_to(self) -> PartyId | None:
        """The party of another platform that is told; None where it is a tenant's."""
        return self.owner if self.holder else None
