"""Commands that partners ask for by OCPI: found, sealed, and handed to the log as remote commands.

A typed body enters; the answer at once leaves, once the request is durable. What becomes of it is told to the
partner's `response_url` by a delivery of its own, whatever becomes of this process. The request itself is the
identity: said again it is the same remote command, wherever the charge point stands by then.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import uuid4

import msgspec

from application.charging_places import ChargingPlace, NoPlace, Seeker, charging_place
from application.read_back import wait_visible
from application.remote_commands import Place, RemoteCommandPorts, configuration_in, sealed_in
from application.token_store import GROUP, cdr_token
from application.vault import DestroyedError
from commands.base import Meta
from commands.partner import vault_subject
from commands.remote_command import RequestRemoteCommand, remote_command_story
from commands.session import FindSession, FoundSession
from commands.token import NoteAuthorization
from domain.intents import Intent, RemoteStart, RemoteStop, Unlock
from domain.partner_command import Asker, tells_token_in_clear
from domain.remote_command import GRACE
from domain.tenant import Configuration
from domain.values import Authorization, PartyId, TagRef
from projections.store import HUB
from protocols.ocpi.v2_3_0.commands import StartSession, StopSession, UnlockConnector
from protocols.ocpi.v2_3_0.enums import CommandResponseType

LONGEST_WAIT: Final = timedelta(seconds=60)
"""How long a command may wait to be sent, whatever the tenant says: somebody stands there."""

PUBLIC_TYPES: Final[dict[type[Intent], str]] = {
    RemoteStart: "remote_start",
    RemoteStop: "remote_stop",
    Unlock: "unlock_connector",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PartnerRequest:
    """Who asks what of whom: `parties` are those of the partner that may ask, `sender` the one that its request
    names, `to` the party of ours. `endpoints` are the URLs by which the platform is called. `meta` is that of the
    request: its id is the command's."""

    partner_id: str
    holder: str
    parties: frozenset[str]
    sender: PartyId | None
    to: str | None
    command: str
    response_url: str
    endpoints: tuple[str, ...]
    meta: Meta

    @property
    def seeker(self) -> Seeker:
        return Seeker(self.partner_id, self.parties, self.to)


@dataclass(frozen=True, slots=True)
class CommandAnswer:
    """What is answered at once. `timeout` in seconds until the result is due. `unknown_location`: OCPI 2003;
    `invalid`: OCPI 2001."""

    result: CommandResponseType
    timeout: int = 0
    message: str = ""
    unknown_location: bool = False
    invalid: bool = False


class PartnerCommands:
    """One a process. `refer` is the reference by which a start with a tenant's tag will be known; `judge` says what
    is wrong with a URL that is to be called, empty for nothing."""

    def __init__(
        self,
        ports: RemoteCommandPorts,
        refer: Callable[[str, str], Awaitable[TagRef]],
        judge: Callable[[str], Awaitable[str]],
    ) -> None:
        self._ports = ports
        self._refer = refer
        self._judge = judge

    async def start(self, request: PartnerRequest, body: StartSession) -> CommandAnswer:
        """Begin to charge for the token, which is the partner's word that it may: it is not looked up.

        Raises LogUnavailableError, StoreUnavailableError; as the others do."""
        try:
            return await self._start(request, body)
        except DestroyedError:
            return _refused("token: what was personal of this uid was erased, and it is used no more")

    async def _start(self, request: PartnerRequest, body: StartSession) -> CommandAnswer:
        token = body.token
        owner = PartyId(country_code=token.country_code.upper(), party_id=token.party_id.upper())
        if str(owner) not in request.parties:
            return _refused(
                f"token: {owner} is no party of this platform that may ask for this", invalid=True
            )
        place = await charging_place(
            self._ports.store, request.seeker, body.location_id, body.evse_uid, body.connector_id
        )
        if isinstance(place, NoPlace):
            return _nowhere(place)
        vault, uid = self._ports.vault, token.uid
        if self._ports.fits(RemoteStart(id_tag=uid)) is not None:
            # Longer than the version's id tags: the charge point gets a name of its own for it.
            uid = f"CS{vault.digest('id_tag', f'{owner}|{token.type}|{uid.casefold()}')[:18]}"
        tag = await self._refer(place.tenant, uid)
        authorization = await self._authorization(request, owner, body)
        intent = RemoteStart(connector_id=place.connector_id, id_tag=uid)
        if wrong := await self._wrong(request, intent):
            return wrong
        if authorization.token_version:
            await self._note(request, place, owner, authorization)
        return await self._ask(request, place, intent, owner, tag, authorization)

    async def stop(self, request: PartnerRequest, body: StopSession) -> CommandAnswer:
        """End a session of the partner's own tokens; any other one is unknown to it."""
        found = await self._session(request, body.session_id)
        if (
            found is None
            or found.owner is None
            or str(found.owner) not in request.parties
            or found.holder != request.holder
            or request.to not in (None, str(found.party))
        ):
            return CommandAnswer(CommandResponseType.UNKNOWN_SESSION)
        place = ChargingPlace(found.tenant, found.party, found.charge_point_id, None)
        intent = RemoteStop(transaction_id=found.transaction_id)
        return await self._wrong(request, intent) or await self._ask(request, place, intent, found.owner)

    async def unlock(self, request: PartnerRequest, body: UnlockConnector) -> CommandAnswer:
        """Let a cable go; the charge point's decision refuses where somebody else's charge runs."""
        place = await charging_place(
            self._ports.store, request.seeker, body.location_id, body.evse_uid, body.connector_id
        )
        if isinstance(place, NoPlace):
            return _nowhere(place)
        assert place.connector_id is not None
        owner, intent = PartyId.of(min(request.parties)), Unlock(connector_id=place.connector_id)
        return await self._wrong(request, intent) or await self._ask(request, place, intent, owner)

    async def _session(self, request: PartnerRequest, id: str) -> FoundSession | None:
        """What the read models do not show yet, the log itself is asked for: the partner may have been told before
        they were. Ids of ours are written small; what CPOs pushed stands there under a party in capitals."""
        id = id.lower()
        session = await self._ports.store.get(HUB, "sessions", id)
        if session is not None:
            tenant, charge_point_id = str(session["tenant_id"]), str(session["charge_point_id"])
            at = Place(self._ports, tenant, charge_point_id, principal=request.meta.principal)
            transaction = await at.transaction(id)
            if transaction is None:
                return None
            return FoundSession(
                tenant=tenant,
                charge_point_id=charge_point_id,
                transaction_id=transaction,
                party=PartyId.of(str(session["party"])),
                owner=PartyId.of(str(session["owner"])) if session["owner"] else None,
                holder=str(session["holder"] or ""),
            )
        meta = msgspec.structs.replace(request.meta, command_id=f"find|{uuid4()}")
        reply = await self._ports.bus.ask(FindSession(session_id=id), meta)
        return None if reply.refusal is not None else msgspec.json.decode(reply.result, type=FoundSession)

    async def _ask(
        self,
        request: PartnerRequest,
        place: ChargingPlace,
        intent: Intent,
        owner: PartyId,
        tag: TagRef | None = None,
        authorization: Authorization | None = None,
    ) -> CommandAnswer:
        ports, tenant = self._ports, place.tenant
        configuration = await configuration_in(ports.store, tenant)
        wait = _wait(configuration)
        command_id = request.meta.command_id.replace("|", "-")
        fingerprint = ports.vault.digest("partner_command", command_id)
        command = RequestRemoteCommand(
            tenant=tenant,
            command_id=command_id,
            charge_point_id=place.charge_point_id,
            command_type=PUBLIC_TYPES[type(intent)],
            intent=await sealed_in(
                ports.vault, tenant, "charge_point", f"{tenant}|{place.charge_point_id}", intent
            ),
            id_tag=tag,
            authorization=authorization,
            fingerprint=fingerprint,
            by=request.meta.principal,
            expires_at=request.meta.at + wait,
            asker=Asker(
                partner_id=request.partner_id,
                holder=request.holder,
                party=request.sender or owner,
                of=place.party,
                command=request.command,
                response_url=await ports.vault.seal(vault_subject(request.partner_id), request.response_url),
            ),
        )
        meta = msgspec.structs.replace(
            request.meta,
            command_id=f"remote|{tenant}|{command_id}|{fingerprint}",
            tenant=tenant,
            correlation_id=remote_command_story(tenant, command_id),
        )
        reply = await ports.bus.ask(command, meta)
        if reply.refusal is not None:
            return _refused(reply.message)
        answer_in = timedelta(seconds=configuration.message_timeouts.call_seconds)
        return CommandAnswer(CommandResponseType.ACCEPTED, int((wait + answer_in + GRACE).total_seconds()))

    async def _wrong(self, request: PartnerRequest, intent: Intent) -> CommandAnswer | None:
        """What forbids that it is asked at all."""
        if wrong := self._ports.fits(intent):
            return _refused(f"the charge point cannot be told so: {wrong.message}")
        if tells_token_in_clear(request.response_url, request.endpoints):
            return _refused("response_url: must be https, as this platform's endpoints are", invalid=True)
        if wrong_url := await self._judge(request.response_url):
            return _refused(f"response_url: {wrong_url}", invalid=True)
        return None

    async def _note(
        self, request: PartnerRequest, place: ChargingPlace, owner: PartyId, known: Authorization
    ) -> None:
        """Its owner is not asked for the token at this charge point now (chapter Commands, StartSession); the charge
        point asks us at once, so that has to be seen before it is told to start."""
        key = known.token_id.rpartition("|")[2]
        note = NoteAuthorization(
            owner=owner,
            key=key,
            allowed="ALLOWED",
            authorization_reference=known.authorization_reference,
            for_tenant=place.tenant,
            charge_point_id=place.charge_point_id,
            commanded=True,
        )
        meta = msgspec.structs.replace(request.meta, command_id=f"{request.meta.command_id}|authorized")
        reply = await self._ports.bus.ask(note, meta)
        if reply.refusal is None:
            await wait_visible(self._ports.store, HUB, "tokens", f"{owner}|{key}", reply.version)

    async def _authorization(
        self, request: PartnerRequest, owner: PartyId, body: StartSession
    ) -> Authorization:
        """Its owner has authorized it by asking: the CPO shall not check that (chapter Commands, StartSession)."""
        vault, token = self._ports.vault, body.token
        key = vault.token_key(str(token.type), token.uid)
        stored = await self._ports.store.get(HUB, "tokens", f"{owner}|{key}")
        known = stored is not None and stored["holder"] == request.holder
        version = stored["version"] if known and stored is not None else 0
        group = vault.token_key(GROUP, token.group_id) if token.group_id else ""
        return Authorization(
            status="Accepted",
            source="remote",
            as_of=request.meta.at,
            owner=owner,
            holder=request.holder,
            token_id=f"token|{owner}|{key}",
            token_version=version if isinstance(version, int) else 0,
            token_type=str(token.type),
            cdr_token=await vault.seal(vault.subject(str(owner), key), cdr_token(token)),
            parent=group,
            parent_sealed=await vault.seal(vault.subject(str(owner), group), token.group_id)
            if token.group_id
            else "",
            authorization_reference=body.authorization_reference or "",
            auth_method="COMMAND",
        )


def _wait(configuration: Configuration) -> timedelta:
    """How long it may wait to be sent."""
    return min(timedelta(seconds=configuration.message_timeouts.expiry_seconds), LONGEST_WAIT)


def _refused(message: str, *, invalid: bool = False) -> CommandAnswer:
    return CommandAnswer(CommandResponseType.REJECTED, message=message, invalid=invalid)


def _nowhere(place: NoPlace) -> CommandAnswer:
    return CommandAnswer(
        CommandResponseType.REJECTED,
        message=place.message,
        unknown_location=not place.several,
        invalid=place.several,
    )
