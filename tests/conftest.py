"""What every test may ask for: the real servers and unique names (tests/servers/plugin.py)."""

import gc

import tests.laws  # noqa: F401 — registers the profiles before one is asked for

pytest_plugins = ["tests.servers.plugin"]


def pytest_collection_finish() -> None:
    """Modules and thousands of tests live as long as the run: no collection has to look at them again."""
    gc.collect()
    gc.freeze()
