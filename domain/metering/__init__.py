"""Meter values: sampled texts of a charge point enter, normalised readings and the energy of a session leave.

Nothing here refuses a sample: what is odd is kept and said beside the result. It never reads a clock,
never invents energy that no difference of two registers shows, and never touches signed data.
"""

from domain.metering.energy import Energy, Repair, session_energy
from domain.metering.moment import Sampled, Totals, totals
from domain.metering.reading import RawSample, Reading, normalise
from domain.metering.sample import current_a, energy_register, moments, power_w, state_of_charge

__all__ = [
    "Energy",
    "RawSample",
    "Reading",
    "Repair",
    "Sampled",
    "Totals",
    "current_a",
    "energy_register",
    "moments",
    "normalise",
    "power_w",
    "session_energy",
    "state_of_charge",
    "totals",
]
