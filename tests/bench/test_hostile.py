"""A hostile day: how it is judged, and that each flood does what it says to a system on this machine."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from bench.attacker import FLOODS, Attacker, main
from bench.hostile import verdict


def stretch(p99: float, **more: Any) -> dict[str, Any]:
    times = {"all": {"count": 10, "p99": p99}}
    return {"answer_ms": times, "errors": {}, "unanswered": 0, "attacker": {"done": 5}, **more}


@pytest.mark.parametrize(("quiet", "found"), [(20.0, 199.0), (150.0, 299.0)])
def test_a_flood_is_survived_below_twice_the_quiet_p99_or_200_ms(quiet: float, found: float) -> None:
    assert verdict(stretch(quiet), stretch(found)) == ""
    assert verdict(stretch(quiet), stretch(found + 1.0)) != ""


def test_a_flood_is_not_survived_where_messages_fail_or_nobody_attacked() -> None:
    assert "unanswered" in verdict(stretch(20.0), stretch(20.0, unanswered=1))
    assert "errors" in verdict(stretch(20.0), stretch(20.0, errors={"lost": 1}))
    assert verdict(stretch(20.0), stretch(20.0, attacker={})) == "the attacker did nothing"
    assert verdict(stretch(20.0), {**stretch(20.0), "answer_ms": {"all": {}}}) == "nobody was answered"


def test_nobody_else_is_attacked() -> None:
    with pytest.raises(SystemExit, match="not on this machine"):
        main(["bad-tokens", "ws://192.0.2.1:1", "http://127.0.0.1:1", "1"])


@pytest.mark.parametrize("flood", FLOODS)
async def test_an_attacker_takes_half_a_core_at_most_and_counts(flood: str) -> None:
    """Against somebody who takes everything and answers nothing but 404."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    attacker = Attacker(f"ws://127.0.0.1:{port}", f"http://127.0.0.1:{port}")
    before = time.process_time()
    async with server:
        await attacker.run(flood, 0.5)
    assert attacker.done
    assert sum(attacker.answers.values()) == attacker.done
    assert time.process_time() - before < 5.0
