"""The credentials module: a partner registers (POST), changes (PUT), reads (GET) and ends (DELETE) its registration.

POST and PUT call back with the partner's new token inside the open request; only when that went well are new tokens
made and the registration decided. Until the decision nothing has changed: whatever fails before it (3001, 3002, 3003,
2001) leaves the token that was used alive. Of the roles those count that the operator granted; the others wait.
"""

from __future__ import annotations

from typing import Final

import msgspec

from api.ocpi.call import SUSPENDED, Answer, Call, invalid, not_allowed, refused
from api.ocpi.identity import Identity
from application.read_back import wait_visible
from commands.base import Command, Meta, Refusal
from commands.partner import (
    TOKEN_DIGEST,
    Register,
    RequestRoles,
    Unregister,
    UpdateCredentials,
    hub_party_of,
    roles_of,
    vault_subject,
)
from domain.partner import PartnerConnection, Secret
from projections.store import HUB
from protocols.ocpi import parse, v2_2_1, v2_3_0
from protocols.ocpi.envelope import StatusCode
from streams.log.envelope import Reply

Credentials = v2_3_0.Credentials | v2_2_1.Credentials

OBJECTS: Final[dict[str, type[v2_3_0.Credentials] | type[v2_2_1.Credentials]]] = {
    "2.3.0": v2_3_0.Credentials,
    "2.2.1": v2_2_1.Credentials,
}


async def get(call: Call) -> Answer:
    """By which token the partner accesses us: the one that it showed, or the newer one where that is in its grace."""
    token = call.access.presented
    if call.access.digest not in (call.access.partner.get("digest_c"), call.access.partner.get("digest_a")):
        token = await _opened(call, "sealed_c") or token
    return await _ours(call, token)


async def post(call: Call) -> Answer:
    if call.access.registered:
        return not_allowed("this platform is registered; use PUT to change its credentials", _allowed(True))
    return await _handshake(call)


async def put(call: Call) -> Answer:
    if not call.access.registered:
        return not_allowed("this platform is not registered; use POST", _allowed(False))
    return await _handshake(call)


async def delete(call: Call) -> Answer:
    if not call.access.registered:
        return not_allowed("this platform is not registered", _allowed(False))
    reply = await call.ports.bus.ask(Unregister(partner_id=call.access.partner_id), _meta(call))
    if reply.refusal is not None:
        return _refused(call, reply)
    await _visible(call, reply)
    return Answer()


def _allowed(registered: bool) -> tuple[str, ...]:
    """What the module allows a partner in its state."""
    return ("GET", "PUT", "DELETE") if registered else ("GET", "POST")


async def _handshake(call: Call) -> Answer:
    if call.access.suspended:
        return refused(SUSPENDED)
    theirs = parse(OBJECTS[call.version], call.body)
    if wrong := _wrong(call, theirs):
        return invalid(wrong)
    roles = roles_of(theirs)
    # With the token that it will be called with from now on: one that it does not accept itself is no use.
    found = await call.ports.peers.discover(theirs.url, theirs.token, (call.version,))
    if found.status_code != StatusCode.SUCCESS:
        return Answer(status_code=found.status_code, message=found.message)
    ports, subject = call.ports, vault_subject(call.access.partner_id)
    token = ports.new_token()
    connection = PartnerConnection(
        version=call.version,
        versions_url=theirs.url,
        endpoints=found.endpoints,
        roles=roles,
        hub_party_id=hub_party_of(theirs),
        token_b=await ports.vault.seal(subject, theirs.token),
        token_c=Secret(
            digest=ports.vault.digest(TOKEN_DIGEST, token), sealed=await ports.vault.seal(subject, token)
        ),
        token_raw=found.token_raw,
    )
    reply = await ports.bus.ask(_decision(call, connection), _meta(call))
    if reply.refusal is not None:
        if reply.refusal is Refusal.INVALID:
            await ports.bus.ask(RequestRoles(partner_id=call.access.partner_id, roles=roles), _meta(call))
        return _refused(call, reply)
    await _visible(call, reply)
    return await _ours(call, token)


def _decision(call: Call, connection: PartnerConnection) -> Command:
    id, digest = call.access.partner_id, call.access.digest
    if not call.access.registered:
        return Register(partner_id=id, connection=connection, token_a_digest=digest)
    return UpdateCredentials(
        partner_id=id, connection=connection, instead_of=str(call.access.partner["digest_c"])
    )


def _wrong(call: Call, theirs: Credentials) -> str:
    """What the types do not say: a token can stand in a header, roles differ, `?type=` is one of them."""
    if not theirs.token or not all("!" <= char <= "~" for char in theirs.token):
        return "token: must be 1 to 64 printable ASCII characters without spaces"
    named = [(role.role, role.country_code.upper(), role.party_id.upper()) for role in theirs.roles]
    if len(set(named)) < len(named):
        return "roles: each role of a party may stand there once"
    hub = call.ports.hub
    if any(party == (hub.country_code, hub.party_id) for party in (one[1:] for one in named)):
        return f"roles: {hub} is the hub's own party"
    wanted = call.query.get("type")
    if wanted is not None and wanted.upper() not in {role.value for role, _, _ in named}:
        return f"type: {wanted[:20]!r} is none of the roles"
    return ""


def _meta(call: Call) -> Meta:
    """Of its own each time: a repeated request makes new tokens, and its answer must hold those that were decided."""
    return msgspec.structs.replace(call.meta(), command_id=f"ocpi|{call.ports.new_id()}")


async def _visible(call: Call, reply: Reply) -> None:
    ports = call.ports
    await wait_visible(
        ports.store,
        HUB,
        "partners",
        call.access.partner_id,
        reply.version,
        patience=ports.visible_within,
    )


async def _ours(call: Call, token: str) -> Answer:
    ports = call.ports
    identity = Identity(ports.store, ports.public_url, ports.hub, ports.hub_name)
    return Answer(await identity.credentials(call.version, token))


async def _opened(call: Call, field: str) -> str:
    sealed = call.access.partner.get(field)
    data = await call.ports.vault.open(sealed) if isinstance(sealed, str) and sealed else None
    return data.decode() if data is not None else ""


def _refused(call: Call, reply: Reply) -> Answer:
    if reply.refusal is Refusal.NOT_ALLOWED:
        return not_allowed(reply.message, _allowed(not call.access.registered))
    if reply.refusal is Refusal.INVALID:
        return invalid(reply.message)
    code = StatusCode.SERVER_ERROR if reply.refusal is Refusal.FAILED else StatusCode.CLIENT_ERROR
    return Answer(status_code=code, message=reply.message)
