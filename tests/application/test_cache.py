"""The cache in front of the read store."""

from __future__ import annotations

from application.cache import Cache


async def test_who_asks_for_what_is_not_there_pushes_out_nothing_that_is() -> None:
    values: Cache[int] = Cache(60, most=3)
    asked: list[str] = []

    async def there() -> int:
        asked.append("there")
        return 1

    async def missing() -> None:
        return None

    await values.get("a", there)
    for number in range(10):
        await values.get(f"x{number}", missing)
    assert await values.get("a", there) == 1
    assert asked == ["there"]
