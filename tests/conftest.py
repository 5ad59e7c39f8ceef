"""What every test may ask for: the real servers and unique names (tests/servers/plugin.py)."""

pytest_plugins = ["tests.servers.plugin"]
