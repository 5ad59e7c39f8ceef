"""The measurements run, and say what they found."""

from __future__ import annotations

import ocpp.messages
import pytest

from bench.wire_ocpp import A_DAY, agree, fuzz, main, run, table
from protocols.ocpp.v16 import REQUESTS


def test_the_routes_are_measured_side_by_side() -> None:
    as_shipped = ocpp.messages.ASYNC_VALIDATION
    rows = run(0.0)
    assert [row.message for row in rows] == [*A_DAY, "mean of a day"]
    assert all(min(row.package, row.in_line, row.bare, row.ours) > 0 for row in rows)
    assert len(list(table(rows))) == len(rows) + 2
    assert ocpp.messages.ASYNC_VALIDATION is as_shipped


def test_agreement_counts_requests_and_confirmations() -> None:
    found = agree(3)
    assert (found.payloads, found.differences) == (3 * 2 * len(REQUESTS), [])


def test_a_fuzz_run_counts_what_it_saw() -> None:
    found = fuzz(300)
    assert found.frames == 300
    assert (
        sum(found.outcomes[name] for name in ("Call", "CallResult", "CallError", "Ignored", "FrameError"))
        == 300
    )


def test_the_command_line_prints_a_line_of_result(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--agree", "1"]) == 0
    assert capsys.readouterr().out.startswith("78 payloads, ")
    assert main(["--fuzz", "50"]) == 0
    assert "50 frames, no exception" in capsys.readouterr().out
