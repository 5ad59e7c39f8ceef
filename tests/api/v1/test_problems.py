"""Everything that goes wrong is a problem detail (RFC 9457)."""

from __future__ import annotations

from urllib.parse import quote

import msgspec
import pytest

from api.auth import issue_token
from api.problems import LARGEST_BODY, STATUS_OF
from commands.base import Refusal
from projections.store import StoreUnavailableError
from streams.log import LogUnavailableError
from tests.api.v1.world import KEY, NOW, World, problem


def test_every_refusal_has_a_status() -> None:
    assert set(STATUS_OF) == set(Refusal)


async def test_a_path_that_is_not_there_is_404(world: World) -> None:
    response = await world.call("GET", "/nothing/here")

    assert response.status_code == 404
    problem(response)


async def test_the_root_is_no_route_either(world: World) -> None:
    response = await world.http.get("/api/v1")

    assert response.status_code == 404
    problem(response)


async def test_a_query_parameter_that_is_not_there_is_422_by_its_name(world: World) -> None:
    response = await world.call("GET", "/sessions?limit=5&colour=red")

    assert response.status_code == 422
    assert problem(response)["errors"] == [
        {"in": "query", "path": "colour", "message": "there is no such parameter here"}
    ]


async def test_each_answer_bears_the_id_of_its_request(world: World) -> None:
    own = await world.call("GET", "/sessions", headers={"x-request-id": "mine-1"})
    first, wrong = await world.call("GET", "/sessions"), await world.call("GET", "/nothing/here")
    odd = await world.call("GET", "/sessions", headers={"x-request-id": "x" * 129})

    assert own.headers["x-request-id"] == "mine-1"
    ids = {one.headers["x-request-id"] for one in (first, wrong, odd)}
    assert len(ids) == 3
    assert all(len(id) == 36 for id in ids)


async def test_a_request_that_fails_stands_in_our_log_by_its_id(
    world: World, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(world.store, "find", broken)
    response = await world.call("GET", "/sessions", headers={"x-request-id": "mine-2"})

    assert response.status_code == 500
    assert "mine-2" in caplog.text


async def test_a_method_that_is_not_there_is_405_with_what_is(world: World) -> None:
    response = await world.call("DELETE", "/chargepoints")

    assert (response.status_code, response.headers["allow"]) == (405, "GET, POST")
    problem(response)


async def test_wrong_input_is_422_with_the_path_of_each_field_and_no_value(world: World) -> None:
    body = {"id": "CP/1", "password": "hunter2", "evses": [{"uid": "1"}], "extra": 1}

    response = await world.call("POST", "/chargepoints", body)

    errors = problem(response)["errors"]
    assert isinstance(errors, list)
    paths = {error["path"] for error in errors if isinstance(error, dict)}
    assert response.status_code == 422
    assert paths == {"id", "password", "evses.0.connectors", "extra"}
    assert "hunter2" not in response.text


async def test_of_very_many_wrong_fields_the_first_are_named(world: World) -> None:
    body = {"command_type": "reset", "charge_points": {"ids": [""] * 10_000}}

    response = await world.call("POST", "/jobs", body)

    errors = problem(response)["errors"]
    assert isinstance(errors, list)
    assert [one["path"] for one in errors if isinstance(one, dict)] == [
        f"charge_points.ids.{number}" for number in range(100)
    ]


async def test_a_body_that_is_no_json_is_422(world: World) -> None:
    response = await world.http.post(
        "/chargepoints", content=b"{", headers={"content-type": "application/json"}
    )

    assert response.status_code == 422
    problem(response)


@pytest.mark.parametrize("declared", [True, False])
async def test_a_body_beyond_the_bound_is_413(world: World, declared: bool) -> None:
    async def stream() -> object:
        for _ in range(LARGEST_BODY // 1000 + 1):
            yield b" " * 1000

    content = b" " * (LARGEST_BODY + 1) if declared else stream()
    response = await world.http.post(
        "/chargepoints",
        content=content,  # type: ignore[arg-type]
        headers={"content-type": "application/json"},
    )

    assert response.status_code == 413
    problem(response)


@pytest.mark.parametrize("depth", [33, 400, 3_000, 100_000])
async def test_a_body_that_nests_too_deep_is_422_wherever_it_goes(world: World, depth: int) -> None:
    """MongoDB holds 100 levels, SQLite's JSON 1,000, Python's readers about as many."""
    deep = b"[" * depth + b"]" * depth
    bodies = {
        ("PUT", "/tariffs/T1"): b'{"currency":"EUR","elements":%s}' % deep,
        ("PUT", "/tenants/demo/config"): b'{"ocpi":{"business_details":{"a":%s}}}' % deep,
        ("POST", "/chargepoints/CP1/commands"): b'{"command_type":"reset","parameters":{"a":%s}}' % deep,
        ("POST", "/chargepoints"): deep,
        ("PUT", "/tokens/T"): b'{"status":"Accepted","x":%s' % deep,
    }
    bearer = issue_token(KEY, "tenant_admin", "demo", NOW)
    for (method, path), body in bodies.items():
        headers = {"authorization": f"Bearer {bearer}", "content-type": "application/json"}
        response = await world.http.request(method, path, content=body, headers=headers)
        assert response.status_code == 422, path
        assert problem(response)["detail"] == "body: must not nest deeper than 32"
    assert world.bus.asked == []


@pytest.mark.parametrize(
    "time",
    [
        "0001-01-01T00:00:00+23:59",
        "9999-12-31T23:59:59-23:59",
        "2026-01-01T00:00:00",
        "10000-01-01T00:00:00Z",
    ],
)
async def test_a_time_that_cannot_be_is_422_with_its_name(world: World, time: str) -> None:
    for path in ("/sessions", "/commands", "/tokens", "/cdrs", "/deliveries"):
        for name in ("from", "to"):
            response = await world.call("GET", f"{path}?{name}={quote(time)}")
            assert response.status_code == 422, path
            errors = problem(response)["errors"]
            assert isinstance(errors, list)
            assert [error["path"] for error in errors if isinstance(error, dict)] == [name]
    put = await world.call("PUT", "/tokens/T", {"status": "Accepted", "expiry_date": time})
    assert put.status_code == 422


@pytest.mark.parametrize(
    "time", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "9999-12-31T23:59:59+14:00"]
)
async def test_times_at_the_edges_of_the_calendar_are_times(world: World, time: str) -> None:
    assert (await world.call("GET", f"/sessions?from={quote(time)}")).status_code == 200


@pytest.mark.parametrize("password", ["12345678\0", "\0" * 8, "1234 5678", "1234567é"])
async def test_a_password_is_of_printable_ASCII(world: World, password: str) -> None:
    await world.add_charge_point()
    response = await world.call("POST", "/chargepoints/CP1/credentials", {"password": password})
    assert response.status_code == 422
    assert world.bus.asked == []


async def test_over_the_rate_is_429_with_the_time_to_wait(world: World) -> None:
    world.limiter.wait = 2.3

    response = await world.call("GET", "/sessions")

    assert (response.status_code, response.headers["retry-after"]) == (429, "3")
    problem(response)


async def test_the_rate_is_the_tenants_own(world: World) -> None:
    await world.add_tenant("small", api_rate_limit=3)

    await world.call("GET", "/sessions", tenant="small")

    assert world.limiter.taken == [("api|small", 3, 3)]


async def test_the_log_away_is_503_with_retry_after(world: World) -> None:
    world.bus.replies.append(LogUnavailableError("kafka:9092 is away"))

    response = await world.call("DELETE", "/chargepoints/CP1")

    assert (response.status_code, response.headers["retry-after"]) == (503, "5")
    assert "kafka" not in response.text
    problem(response)


async def test_the_store_away_is_503(world: World) -> None:
    await world.store.close()

    response = await world.call("GET", "/sessions")

    assert response.status_code == 503
    problem(response)


async def test_what_nobody_foresaw_is_500_without_its_text(world: World) -> None:
    world.bus.replies.append(RuntimeError("secret cause"))

    response = await world.call("DELETE", "/chargepoints/CP1")

    assert response.status_code == 500
    assert "secret" not in response.text
    problem(response)


async def test_a_refusal_is_a_problem_with_its_name(world: World) -> None:
    for refusal in Refusal:
        world.bus.refuses(refusal, "because")

        response = await world.call("DELETE", "/chargepoints/CP1")

        assert response.status_code == STATUS_OF[refusal]
        assert problem(response)["code"] == refusal.value


async def test_a_cursor_of_another_list_is_422(world: World) -> None:
    response = await world.call("GET", "/sessions?cursor=xyz")

    assert response.status_code == 422
    assert problem(response)["errors"]


async def test_a_wrong_filter_is_422_with_its_name(world: World) -> None:
    for query in ("limit=0", "limit=501", "limit=x", "from=yesterday", "status=running"):
        response = await world.call("GET", f"/sessions?{query}")

        assert response.status_code == 422
        [error] = msgspec.convert(problem(response)["errors"], list[dict[str, str]])
        assert (error["in"], error["path"]) == ("query", query.split("=")[0])


async def test_a_store_error_says_unavailable_and_not_where() -> None:
    from api.problems import problem_of

    told = problem_of(StoreUnavailableError("mongodb://inside", "refused"))

    assert (told.status, "mongodb" in told.detail) == (503, False)
