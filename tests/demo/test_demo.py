"""`chargesphere demo --for SECONDS`: a living network, a table, and an exit status that can be relied on."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.demo, pytest.mark.timeout(180)]


@pytest.mark.long(36)
def test_every_charge_of_a_short_demo_becomes_a_delivered_cdr() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "chargesphere", "demo", "--for", "30"],
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    counts = {what.strip(): int(count) for what, count in re.findall(r"│ ([^│]+?) +│ +(\d+) │", done.stdout)}
    assert counts["charges finished"] > 0
    assert counts["charges started"] == counts["charges finished"] == counts["CDRs delivered"]
    assert counts["authorizations in real time"] > 0
    assert counts["problems"] == 0
    assert "ws://127.0.0.1:" in done.stdout and "/ocpi/versions" in done.stdout
