"""`chargesphere erase`: a uid and its tenant enter, the fact that its personal data was erased leaves; its keys go.

With Kafka the running deciders decide; without, the folder's log is decided and projected here until it is done.
"""

from __future__ import annotations

import argparse
import sys
from datetime import UTC, datetime
from uuid import uuid4

from application.read_back import wait_gone
from application.vault import TOKEN_TYPES
from chargesphere.backbone import Backbone
from chargesphere.errors import CannotBeginError
from commands.base import Meta
from commands.token import ErasePersonalData
from domain.token import owner_text, token_aggregate_id
from projections.store import HUB

LONGEST = 64
PATIENCE = 30.0
PRINCIPAL = "platform_admin:command line"
"""As the audit shows it."""


async def erase(backbone: Backbone, options: argparse.Namespace) -> int:
    """Raises CannotBeginError, LogUnavailableError and StoreUnavailableError; asked again it does what was left."""
    tenant, uid, vault = options.tenant, options.uid, backbone.vault
    if not 1 <= len(uid) <= LONGEST:
        raise CannotBeginError(f"a uid has 1 to {LONGEST} characters")
    if await backbone.store.get(HUB, "tenants", tenant) is None:
        raise CannotBeginError(f"there is no tenant {tenant!r}")
    owner, key = owner_text(None, tenant), vault.token_key(TOKEN_TYPES[0], uid)
    subjects = vault.subjects_of(owner, uid)
    backbone.start_channel()
    if not backbone.settings.kafka_bootstrap:
        backbone.start_decider()
        backbone.start_projector()
    id = f"erase|{uuid4()}"
    meta = Meta(command_id=id, at=datetime.now(UTC), tenant=tenant, correlation_id=id, principal=PRINCIPAL)
    command = ErasePersonalData(tenant=tenant, key=key, subjects=subjects)
    reply = await backbone.bus.ask(command, meta, PATIENCE)
    if reply.refusal is not None:
        print(f"chargesphere: {reply.message}", file=sys.stderr)
        return 1
    for subject in subjects:
        await vault.destroy(subject)
    document = token_aggregate_id(None, tenant, key).partition("|")[2]
    await wait_gone(backbone.store, HUB, "tokens", document, patience=PATIENCE)
    print("erased: what was sealed for this uid is opened by nobody any more, and the uid is used no more")
    return 0
