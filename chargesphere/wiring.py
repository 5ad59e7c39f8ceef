"""What the doors need, put together: ports of OCPI, of `/api/v1` and of the MQTT commands over one backbone."""

from __future__ import annotations

import secrets

from api.ocpi import Identity
from api.ocpi import Ports as OcpiPorts
from api.services import Credentials
from api.services import Services as V1Services
from application.authorization import RealTime, TagAuthorizer
from application.backpressure import RefusingBus
from application.live.fanout import Fanout
from application.partner_authorization import PartnerAuthorizations
from application.partner_commands import PartnerCommands
from application.read_back import wait_visible
from application.remote_commands import RemoteCommandPorts, request_remote_command
from application.tenant_documents import TenantDocuments
from application.token_store import HubTokens
from application.vault import DestroyedError
from chargesphere.backbone import Backbone
from commands.remote_command_rules import ParameterError
from domain.values import JSONObject, PartyId
from gateway.ocpi.client import OcpiClient
from gateway.ocpi.registration import Handshakes, Peers
from gateway.ocpi.self_test import SelfTest
from gateway.ocpp.versions import fits


def new_token() -> str:
    """A token for somebody to show us: 43 characters, 256 bits."""
    return secrets.token_urlsafe(32)


def guarded_bus(backbone: Backbone) -> RefusingBus:
    """The way into the log for what comes by HTTP and MQTT: closed while the decider is too far behind."""
    return RefusingBus(backbone.bus, backbone.lag, backbone.log.layout, backbone.settings.max_decider_lag)


def ocpi_ports(
    backbone: Backbone,
    authorizer: TagAuthorizer,
    real_time: RealTime,
    client: OcpiClient,
    public_url: str,
    hub: PartyId,
) -> OcpiPorts:
    """What the OCPI doors work with."""
    bus = guarded_bus(backbone)
    return OcpiPorts(
        bus=bus,
        store=backbone.store,
        vault=backbone.vault,
        tokens=HubTokens(bus, backbone.store, backbone.vault),
        commands=PartnerCommands(
            RemoteCommandPorts(backbone.store, bus, backbone.vault, authorizer, backbone.clock, fits),
            authorizer.refer,
            client.policy.verdict,
        ),
        authorizations=PartnerAuthorizations(
            backbone.store, backbone.vault, bus, real_time, backbone.limiter
        ),
        peers=Peers(client),
        limiter=backbone.limiter,
        readable=backbone.lag,
        clock=backbone.clock,
        new_token=new_token,
        public_url=public_url,
        hub=hub,
    )


def v1_services(
    backbone: Backbone,
    authorizer: TagAuthorizer,
    client: OcpiClient,
    live: Fanout,
    public_url: str,
    hub: PartyId,
    credentials: Credentials,
) -> V1Services:
    """What `/api/v1` works with."""
    return V1Services(
        store=backbone.store,
        tenants=TenantDocuments(backbone.store),
        bus=guarded_bus(backbone),
        vault=backbone.vault,
        limiter=backbone.limiter,
        credentials=credentials,
        authorizer=authorizer,
        registrar=handshakes(backbone, client, public_url, hub),
        partner_test=SelfTest(client, backbone.store, backbone.vault, hub, backbone.clock),
        live=live,
        clock=backbone.clock,
        fits=fits,
        jwt_keys=backbone.jwt_keys,
        hub=hub,
        public_url=public_url,
    )


def handshakes(backbone: Backbone, client: OcpiClient, public_url: str, hub: PartyId) -> Handshakes:
    """Handshakes from our side, for `POST /partners/{id}/register`, `…/rotate` and `…/unregister`."""

    async def visible(db: str, collection: str, id: str, version: int) -> object:
        return await wait_visible(backbone.store, db, collection, id, version)

    return Handshakes(
        client,
        backbone.store,
        backbone.vault,
        backbone.bus,
        Identity(backbone.store, public_url, hub, "ChargeSphere").credentials,
        visible,
        backbone.clock,
        new_token,
    )


class RemoteCommandDoor:
    """Remote commands that come by MQTT; the same way as those by REST.

    Raises LogUnavailableError, also while the decider is too far behind, and StoreUnavailableError: the command
    then waits.
    """

    def __init__(self, backbone: Backbone, authorizer: TagAuthorizer) -> None:
        self._ports = RemoteCommandPorts(
            backbone.store, guarded_bus(backbone), backbone.vault, authorizer, backbone.clock, fits
        )

    async def request(
        self,
        tenant: str,
        charge_point_id: str,
        command_type: str,
        parameters: JSONObject,
        command_id: str,
        principal: str,
        role: str,
        expiry_seconds: int | None,
        override: bool,
    ) -> str | None:
        try:
            asked = await request_remote_command(
                self._ports,
                tenant=tenant,
                charge_point_id=charge_point_id,
                command_type=command_type,
                parameters=parameters,
                command_id=command_id,
                principal=f"{role}:{principal}",
                role=role,
                expiry_seconds=expiry_seconds,
                override=override,
            )
        except DestroyedError as error:
            return str(error)
        if isinstance(asked, ParameterError):
            return f"{asked.path}: {asked.message}"
        return asked.message if asked.refusal is not None else None
