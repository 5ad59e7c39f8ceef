"""The front door: settings, the composition root that picks the adapters, the command line, the demonstration."""
