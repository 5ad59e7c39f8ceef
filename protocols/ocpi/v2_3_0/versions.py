"""The versions module of OCPI 2.3.0: which versions a platform offers and where its endpoints are."""

from protocols.ocpi.types import AbsoluteUrl, OcpiModel, Some
from protocols.ocpi.v2_3_0.enums import InterfaceRole, OpenModuleID, OpenVersionNumber


class Version(OcpiModel):
    """A version that a platform offers, and the absolute URL of its details."""

    version: OpenVersionNumber
    url: AbsoluteUrl


class Endpoint(OcpiModel):
    """One endpoint of one module for one interface role."""

    identifier: OpenModuleID
    role: InterfaceRole
    url: AbsoluteUrl

    @property
    def module(self) -> str:
        """The id of the module; the bookings text once calls its own `Booking`."""
        return "bookings" if self.identifier.lower() == "booking" else self.identifier


class VersionDetails(OcpiModel):
    """The endpoints of one version."""

    version: OpenVersionNumber
    endpoints: Some[Endpoint]
