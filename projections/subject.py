"""Subjects whose tokens were revoked (`chargesphere.subjects`), `_id` = `tenant|sub`."""

from __future__ import annotations

from commands.base import Meta
from domain.subject import Subject, SubjectTokensRevoked
from projections.base import Target, View
from projections.moment import utc_text
from projections.store import HUB, Document, IndexSpec, index


def target(event: SubjectTokensRevoked, meta: Meta) -> Target:
    return Target(HUB, event.originator_id.partition("|")[2])


def evolve(document: Document | None, event: SubjectTokensRevoked, meta: Meta) -> Document | None:
    return {
        "tenant_id": event.tenant or None,
        "subject": event.subject,
        "before": utc_text(event.before),
        "revoked_by": meta.principal,
    }


VIEW = View("subjects", Subject.kind, "subjects", target, evolve, dense=True)


def indexes() -> tuple[IndexSpec, ...]:
    return (index(HUB, "subjects", "before"),)
