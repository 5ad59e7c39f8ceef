"""The front door: settings, the composition root that picks the adapters, the command line, the demonstration."""

from importlib.metadata import version

__version__ = version("chargesphere")
