"""Measurements: load from separate client processes, kill runs, profiles, and speed of single parts.

What enters: a running system, or real servers that `tests.servers` starts. What leaves: a table and JSON with
rates, answer times, delays, CPU and memory. The product never imports this package, except to start it from
`chargesphere bench`; nothing here decides whether the product is right, the tests do.
"""
