"""What became of a command in OCPI's words: every conclusion of a remote command has one."""

from __future__ import annotations

import pytest

from protocols.ocpi.command_result import command_result


@pytest.mark.parametrize(
    ("status", "reason", "obstacle", "said"),
    [
        ("accepted", "Accepted", "", "ACCEPTED"),
        ("accepted", "Unlocked", "", "ACCEPTED"),
        ("rejected", "Rejected", "", "REJECTED"),
        ("rejected", "Rejected", "occupied", "EVSE_OCCUPIED"),
        ("rejected", "Rejected", "inoperative", "EVSE_INOPERATIVE"),
        ("rejected", "UnlockFailed", "", "REJECTED"),
        ("rejected", "NotSupported", "", "NOT_SUPPORTED"),
        ("failed", "CALLERROR NotImplemented", "", "NOT_SUPPORTED"),
        ("failed", "CALLERROR NotSupported: no such action", "", "NOT_SUPPORTED"),
        ("failed", "CALLERROR InternalError: NotSupported", "", "FAILED"),
        ("failed", "transaction 7 of charge point CP-1 is not running", "refused", "REJECTED"),
        ("failed", "disconnected", "", "TIMEOUT"),
        ("failed", "replaced", "", "TIMEOUT"),
        ("timed_out", "no answer in time", "", "TIMEOUT"),
        ("expired", "it could not be sent in time", "", "TIMEOUT"),
    ],
)
def test_what_became_of_it_has_a_name_in_ocpi(status: str, reason: str, obstacle: str, said: str) -> None:
    """13.4.3 CommandResultType."""
    assert command_result(status, reason, unreached=False, obstacle=obstacle).result == said


@pytest.mark.parametrize(
    ("reason", "text"),
    [("Over\nheated\x00", "Over heated"), ("\ud800", None), ("x" * 600, "x" * 512)],
)
def test_whatever_a_charge_point_says_can_be_told(reason: str, text: str | None) -> None:
    """17.3 DisplayText: printable, 512 characters at most."""
    result = command_result("rejected", reason, unreached=False, obstacle="")
    assert [one.text for one in result.message] == ([] if text is None else [text])


def test_no_partner_hears_our_id_of_a_charge_point() -> None:
    result = command_result("failed", "charge point CP-1 is not connected", unreached=True, obstacle="")
    assert (result.result, result.message[0].text) == ("FAILED", "the charge point is not connected")
    result = command_result("failed", "charge point CP-1 is Pending", unreached=False, obstacle="refused")
    assert "CP-1" not in result.message[0].text
