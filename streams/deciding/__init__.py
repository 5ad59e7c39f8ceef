"""Deciding: commands come in by the bus, each becomes one decision, and its reply finds its way back."""
