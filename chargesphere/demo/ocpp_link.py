"""One OCPP 1.6J connection of a simulated charge point, on the independent `ocpp` package.

What enters: frames of the central system, and calls that the device wants answered. What leaves: the device's answers
and the central system's. It holds nothing that outlives the socket.
"""
# mypy: disallow-subclassing-any=False, disallow-untyped-decorators=False, disallow-any-unimported=False

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import ocpp.messages
from ocpp.exceptions import OCPPError
from ocpp.routing import after, on
from ocpp.v16 import ChargePoint, call_result
from ocpp.v16.enums import Action
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed

from domain.errors import ChargeSphereError

# A thread for each message would cost more than the check itself.
ocpp.messages.ASYNC_VALIDATION = False

_silent = logging.getLogger("chargesphere.demo.ocpp_link")
_silent.setLevel(logging.CRITICAL)


class OfflineError(ChargeSphereError):
    """There was no connection, or it ended before the answer came."""


class RefusedCallError(ChargeSphereError):
    """The central system answered with a CALLERROR, or not within the time that a device waits."""


Heard = Callable[[object, object, float], None]
"""Told of each request with its answer, and when it was asked (the event loop's time)."""


class Device(Protocol):
    """What the central system can ask of the device; each answer is the status of OCPP 1.6."""

    def remote_start(self, id_tag: str, connector_id: int | None) -> str: ...

    def remote_stop(self, transaction_id: int) -> str: ...

    def reset(self, kind: str) -> str: ...

    def trigger(self, message: str, connector_id: int | None) -> str: ...

    def triggered(self, message: str, connector_id: int | None) -> None:
        """The message that was asked for follows the answer."""
        ...

    def configuration(self, keys: Sequence[str]) -> tuple[list[dict[str, object]], list[str]]: ...

    def configure(self, key: str, value: str) -> str: ...

    def unlock(self, connector_id: int) -> str: ...

    def change_availability(self, connector_id: int, kind: str) -> str: ...

    def clear_cache(self) -> str: ...


class Link(ChargePoint):
    """Serves one socket: `start` until it closes, `ask` meanwhile."""

    def __init__(
        self,
        device: Device,
        identity: str,
        socket: ClientConnection,
        patience: float,
        heard: Heard | None = None,
    ) -> None:
        super().__init__(identity, socket, response_timeout=patience, logger=_silent)
        self._device = device
        self._socket = socket
        self._heard = heard
        self._lost = asyncio.get_running_loop().create_future()

    async def serve(self) -> None:
        """Read frames until the socket closes."""
        try:
            await self.start()
        except ConnectionClosed:
            pass
        finally:
            if not self._lost.done():
                self._lost.set_result(None)

    async def ask(self, request: object) -> object:
        """The answer to one call. Raises Offline or Refused; a waiting call fails as soon as the socket closes."""
        if self._lost.done():
            raise OfflineError
        asked_at = asyncio.get_running_loop().time()
        asking = asyncio.ensure_future(self.call(request, suppress=False))
        try:
            await asyncio.wait({asking, self._lost}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():
                raise OfflineError
            answer: object = asking.result()
            if self._heard is not None:
                self._heard(request, answer, asked_at)
            return answer
        except (ConnectionClosed, OSError):
            raise OfflineError from None
        except TimeoutError:
            raise RefusedCallError("no answer in time") from None
        except OCPPError as error:
            raise RefusedCallError(f"{error.code}: {error.description}") from None
        finally:
            asking.cancel()

    async def close(self) -> None:
        await self._socket.close()

    @on(Action.remote_start_transaction)
    def _remote_start(self, id_tag: str, connector_id: int | None = None, **_: object) -> object:
        return call_result.RemoteStartTransaction(self._device.remote_start(id_tag, connector_id))

    @on(Action.remote_stop_transaction)
    def _remote_stop(self, transaction_id: int) -> object:
        return call_result.RemoteStopTransaction(self._device.remote_stop(transaction_id))

    @on(Action.reset)
    def _reset(self, type: str) -> object:
        return call_result.Reset(self._device.reset(type))

    @on(Action.trigger_message)
    def _trigger(self, requested_message: str, connector_id: int | None = None) -> object:
        return call_result.TriggerMessage(self._device.trigger(requested_message, connector_id))

    @after(Action.trigger_message)
    def _triggered(self, requested_message: str, connector_id: int | None = None) -> None:
        self._device.triggered(requested_message, connector_id)

    @on(Action.get_configuration)
    def _get_configuration(self, key: Sequence[str] = ()) -> object:
        known, unknown = self._device.configuration(key)
        return call_result.GetConfiguration(configuration_key=known, unknown_key=unknown)

    @on(Action.change_configuration)
    def _change_configuration(self, key: str, value: str) -> object:
        return call_result.ChangeConfiguration(self._device.configure(key, value))

    @on(Action.unlock_connector)
    def _unlock(self, connector_id: int) -> object:
        return call_result.UnlockConnector(self._device.unlock(connector_id))

    @on(Action.change_availability)
    def _change_availability(self, connector_id: int, type: str) -> object:
        return call_result.ChangeAvailability(self._device.change_availability(connector_id, type))

    @on(Action.clear_cache)
    def _clear_cache(self) -> object:
        return call_result.ClearCache(self._device.clear_cache())

    @on(Action.data_transfer)
    def _data_transfer(self, **_: object) -> object:
        return call_result.DataTransfer("UnknownVendorId")


def tag_status(answer: object) -> str:
    """The status in an answer's idTagInfo; Accepted where it has none."""
    info = getattr(answer, "id_tag_info", None)
    return str(info["status"]) if isinstance(info, Mapping) else "Accepted"
