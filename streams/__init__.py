"""How facts move.

What enters: commands from the edges. What leaves: decisions on the log, replies, read models, deliveries, each
exactly once in effect. What it never does: know a protocol, or take a business decision.
"""
