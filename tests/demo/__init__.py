"""Tests of the simulated network: against small fakes, and as a whole beside a running backend."""
