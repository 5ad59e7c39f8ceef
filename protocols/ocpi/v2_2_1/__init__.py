"""The objects of OCPI 2.2.1: those that 2.3.0 left as they were, and in the modules here those that differ.

What enters and leaves are typed, frozen objects (`protocols.ocpi.codec` reads and writes them); nothing here
does I/O.
"""

from typing import Final

from protocols.ocpi.types import OcpiModel
from protocols.ocpi.v2_2_1.cdrs import CDR, CdrDimension, ChargingPeriod
from protocols.ocpi.v2_2_1.common import Price
from protocols.ocpi.v2_2_1.credentials import Credentials, CredentialsRole
from protocols.ocpi.v2_2_1.hub_client_info import ClientInfo
from protocols.ocpi.v2_2_1.locations import EVSE, Connector, Location
from protocols.ocpi.v2_2_1.sessions import Session
from protocols.ocpi.v2_2_1.tariffs import Tariff, TariffElement, TariffRestrictions
from protocols.ocpi.v2_3_0.cdrs import CdrLocation, CdrToken, SignedData, SignedValue
from protocols.ocpi.v2_3_0.charging_profiles import (
    ActiveChargingProfile,
    ActiveChargingProfileResult,
    ChargingProfile,
    ChargingProfilePeriod,
    ChargingProfileResponse,
    ChargingProfileResult,
    ClearProfileResult,
    SetChargingProfile,
)
from protocols.ocpi.v2_3_0.commands import (
    CancelReservation,
    CommandResponse,
    CommandResult,
    ReserveNow,
    StartSession,
    StopSession,
    UnlockConnector,
)
from protocols.ocpi.v2_3_0.common import (
    AdditionalGeoLocation,
    BusinessDetails,
    DisplayText,
    EnergyMix,
    EnergySource,
    EnvironmentalImpact,
    GeoLocation,
    Image,
)
from protocols.ocpi.v2_3_0.locations import (
    ExceptionalPeriod,
    Hours,
    PublishTokenType,
    RegularHours,
    StatusSchedule,
)
from protocols.ocpi.v2_3_0.sessions import ChargingPreferences
from protocols.ocpi.v2_3_0.tariffs import PriceComponent
from protocols.ocpi.v2_3_0.tokens import AuthorizationInfo, EnergyContract, LocationReferences, Token
from protocols.ocpi.v2_3_0.versions import Endpoint, Version, VersionDetails

MODULES: Final[dict[str, tuple[type[OcpiModel], ...]]] = {
    "common": (
        DisplayText,
        Price,
        Image,
        BusinessDetails,
        GeoLocation,
        AdditionalGeoLocation,
        EnergySource,
        EnvironmentalImpact,
        EnergyMix,
    ),
    "versions": (
        Version,
        Endpoint,
        VersionDetails,
    ),
    "credentials": (
        CredentialsRole,
        Credentials,
    ),
    "tokens": (
        EnergyContract,
        Token,
        LocationReferences,
        AuthorizationInfo,
    ),
    "tariffs": (
        PriceComponent,
        TariffRestrictions,
        TariffElement,
        Tariff,
    ),
    "locations": (
        PublishTokenType,
        RegularHours,
        ExceptionalPeriod,
        Hours,
        StatusSchedule,
        Connector,
        EVSE,
        Location,
    ),
    "sessions": (
        Session,
        ChargingPreferences,
    ),
    "cdrs": (
        CdrDimension,
        ChargingPeriod,
        CdrToken,
        CdrLocation,
        SignedValue,
        SignedData,
        CDR,
    ),
    "commands": (
        CancelReservation,
        ReserveNow,
        StartSession,
        StopSession,
        UnlockConnector,
        CommandResponse,
        CommandResult,
    ),
    "chargingprofiles": (
        ChargingProfilePeriod,
        ChargingProfile,
        SetChargingProfile,
        ActiveChargingProfile,
        ChargingProfileResponse,
        ActiveChargingProfileResult,
        ChargingProfileResult,
        ClearProfileResult,
    ),
    "hubclientinfo": (ClientInfo,),
}
"""Every object by the id of its module; `common` holds what several modules share."""

OBJECTS: Final[dict[str, type[OcpiModel]]] = {
    model.__name__: model for models in MODULES.values() for model in models
}
"""Every object by its name in the standard."""

__all__ = [
    "CDR",
    "EVSE",
    "MODULES",
    "OBJECTS",
    "ActiveChargingProfile",
    "ActiveChargingProfileResult",
    "AdditionalGeoLocation",
    "AuthorizationInfo",
    "BusinessDetails",
    "CancelReservation",
    "CdrDimension",
    "CdrLocation",
    "CdrToken",
    "ChargingPeriod",
    "ChargingPreferences",
    "ChargingProfile",
    "ChargingProfilePeriod",
    "ChargingProfileResponse",
    "ChargingProfileResult",
    "ClearProfileResult",
    "ClientInfo",
    "CommandResponse",
    "CommandResult",
    "Connector",
    "Credentials",
    "CredentialsRole",
    "DisplayText",
    "Endpoint",
    "EnergyContract",
    "EnergyMix",
    "EnergySource",
    "EnvironmentalImpact",
    "ExceptionalPeriod",
    "GeoLocation",
    "Hours",
    "Image",
    "Location",
    "LocationReferences",
    "Price",
    "PriceComponent",
    "PublishTokenType",
    "RegularHours",
    "ReserveNow",
    "Session",
    "SetChargingProfile",
    "SignedData",
    "SignedValue",
    "StartSession",
    "StatusSchedule",
    "StopSession",
    "Tariff",
    "TariffElement",
    "TariffRestrictions",
    "Token",
    "UnlockConnector",
    "Version",
    "VersionDetails",
]
