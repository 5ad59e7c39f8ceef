"""The configuration keys of a simulated charge point. Names are compared without case; values are texts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class _Key:
    name: str
    value: str
    readonly: bool = False

    def accepts(self, value: str) -> bool:
        if self.value in ("true", "false"):
            return value.lower() in ("true", "false")
        return not self.value.isdigit() or value.isdigit()


class Configuration:
    """What GetConfiguration shows and ChangeConfiguration changes."""

    def __init__(self, connectors: int) -> None:
        keys = (
            _Key("AuthorizeRemoteTxRequests", "true"),
            _Key("ConnectionTimeOut", "60"),
            _Key("GetConfigurationMaxKeys", "50", readonly=True),
            _Key("HeartbeatInterval", "300"),
            _Key("LocalAuthorizeOffline", "true"),
            _Key("LocalPreAuthorize", "false"),
            _Key("MeterValueSampleInterval", "3"),
            _Key("MeterValuesSampledData", "Energy.Active.Import.Register,Power.Active.Import"),
            _Key("NumberOfConnectors", str(connectors), readonly=True),
            _Key("StopTransactionOnInvalidId", "true"),
            _Key("SupportedFeatureProfiles", "Core,RemoteTrigger", readonly=True),
            _Key("TransactionMessageAttempts", "3"),
            _Key("TransactionMessageRetryInterval", "1"),
            _Key("WebSocketPingInterval", "20"),
        )
        self._keys = {key.name.lower(): key for key in keys}

    def read(self, names: Sequence[str]) -> tuple[list[dict[str, object]], list[str]]:
        """The keys of these names (all, where none is named), and the names that there are not."""
        wanted = [name.lower() for name in names] or list(self._keys)
        found = [self._keys[name] for name in wanted if name in self._keys]
        unknown = [name for name in names if name.lower() not in self._keys]
        return [{"key": k.name, "readonly": k.readonly, "value": k.value} for k in found], unknown

    def change(self, name: str, value: str) -> str:
        """Accepted, Rejected or NotSupported."""
        key = self._keys.get(name.lower())
        if key is None:
            return "NotSupported"
        if key.readonly or not key.accepts(value):
            return "Rejected"
        key.value = value
        return "Accepted"

    def flag(self, name: str) -> bool:
        return self._keys[name.lower()].value.lower() == "true"
