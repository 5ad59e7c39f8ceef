"""Ctrl-C in a demo that has no end: the table of what became of its charges all the same."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from tests.chargesphere.serving import ENVIRON


@pytest.mark.timeout(120)
def test_ctrl_c_prints_the_table() -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "chargesphere", "demo"], env=ENVIRON, stdout=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stdout is not None
        lines = []
        for line in demo.stdout:
            lines.append(line)
            if line.startswith("charges "):  # it has lived for a while
                demo.send_signal(signal.SIGINT)
                break
        rest = demo.stdout.read()
    assert "ChargeSphere demo" in rest
    dashboards = [line.split()[-1] for line in lines if line.startswith("dashboard of ")]
    assert [url.partition("#tenant=")[2].partition("&")[0] for url in dashboards] == ["demo", "acme"]
