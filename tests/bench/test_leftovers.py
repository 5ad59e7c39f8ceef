"""A charge that is over leaves little, whatever it was while it ran."""

from __future__ import annotations

from bench.leftovers import Deciding, charge


def test_a_charge_of_sixty_readings_leaves_a_stub_of_each_of_its_aggregates() -> None:
    deciding = Deciding()
    running = charge(deciding)
    left = {id.partition("|")[0]: len(data) for id, data in deciding.stored().items()}

    assert left.keys() == {"session", "delivery", "remote_command"}
    assert len(running[next(id for id in running if id.startswith("session|"))]) > 4_000
    assert max(left.values()) <= 530
    assert sum(len(data) for data in deciding.stored().values()) <= 1_350
