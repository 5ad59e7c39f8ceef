"""The wire of OCPI, exactly: objects of 2.3.0 and 2.2.1, their codec, PATCH, the bridge between both versions.

What enters are the bytes of bodies (or JSON already decoded), what leaves are frozen typed objects and bytes, or
`OcpiInvalidError` that names the field by its path. It never opens a connection, asks a clock or knows a store.
"""

from protocols.ocpi.codec import (
    NotJsonError,
    OcpiInvalidError,
    decode,
    dump,
    dump_json,
    parse,
    parse_each,
    parse_json,
)

__all__ = [
    "NotJsonError",
    "OcpiInvalidError",
    "decode",
    "dump",
    "dump_json",
    "parse",
    "parse_each",
    "parse_json",
]
