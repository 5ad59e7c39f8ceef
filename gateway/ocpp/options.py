"""The numbers of the OCPP edge: patience, limits, paces."""

from __future__ import annotations

from dataclasses import dataclass, field

from gateway.ocpp.client_address import Proxies
from gateway.ocpp.volume import CHARGE_POINT, TENANT, Volume
from protocols.ocpp.frames import Limits


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Numbers of the edge; times in seconds.

    `patience`: how long a message waits for the log before its socket is closed (architecture, rule 3).
    `faults` malformed frames within `fault_window` close the socket (J-17). `most_inbound` calls may wait for their
    answers, `most_outbound` of ours for their turn. `ping_every` of silence sends a ping; three of them without any
    sign end a connection that answers pings, `silent_after` or three heartbeat intervals any other (J-19).
    `lost_after` the start, connections of the process before this one are ended, `lost_per_second` of them.
    What is beyond `charge_point_bytes` and `tenant_bytes` waits.
    `evictions` of one charge point within `eviction_window` are taken for two devices with one id (J-20).
    `most_handshakes` wait for their turn at the log, `most_hashes` for that of their password. Of passwords that
    are not known to be right, `guess_burst` and then `guesses_per_charge_point` a second are tried at one charge
    point, `address_guess_burst` and then `guesses_per_address` from one address, and beyond those `address_reserve`
    and then `reserve_per_address` at charge points at which nobody guessed; a chosen word counts as ten. Refused
    handshakes are told `knocks_pause` after the first of them, at most every `knocks_every` for each tenant.
    """

    patience: float = 5.0
    authorize_patience: float = 0.4
    handshake_patience: float = 4.0
    retry_after: int = 10
    faults: int = 10
    fault_window: float = 60.0
    most_inbound: int = 32
    most_outbound: int = 64
    seen_every: float = 60.0
    ping_every: float = 60.0
    silent_after: float = 180.0
    sweep_every: float = 10.0
    lost_after: float = 5.0
    lost_per_second: float = 200.0
    evictions: int = 10
    eviction_window: float = 60.0
    most_connections: int = 50_000
    most_handshakes: int = 1_000
    handshakes_per_address: float = 1_000.0
    handshake_burst: float = 10_000.0
    most_hashes: int = 1_000
    guesses_per_charge_point: float = 0.2
    guess_burst: float = 10.0
    guesses_per_address: float = 20.0
    address_guess_burst: float = 300.0
    reserve_per_address: float = 50.0
    address_reserve: float = 600.0
    knocks_pause: float = 1.0
    knocks_every: float = 60.0
    proxies: Proxies = field(default_factory=Proxies)
    drain: float = 10.0
    charge_point_bytes: Volume = CHARGE_POINT
    tenant_bytes: Volume = TENANT
    limits: Limits = field(default_factory=Limits)
