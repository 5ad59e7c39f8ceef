"""Edges that hold connections.

What enters: frames of charge points, messages of partners and brokers. What leaves: commands to the log, and what the
log's facts send out. What it never does: decide a business rule, or import `api`.
"""
