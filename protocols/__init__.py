"""The wire, exactly: OCPP messages and OCPI objects, each version in a folder of its own.

In: bytes and plain JSON values. Out: exact types, or values that say what is wrong and where. It never opens a
socket, asks a store, reads a clock or decides anything; it knows `domain` and nothing above it.
"""
