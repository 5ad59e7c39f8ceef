"""The packets of MQTT 5 that a publisher needs, as bytes: CONNECT, PUBLISH at QoS 1, PINGREQ, DISCONNECT and answers.

Pure. A publisher that writes many messages at once and reads many acknowledgements at once costs a small part of what
a general client does, which makes several system calls for each message. Sections are those of OASIS MQTT 5.0.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

CONNACK, PUBACK, PINGRESP, DISCONNECT = 0x20, 0x40, 0xD0, 0xE0
"""The types of the packets that come, as their first byte."""

PINGREQ_PACKET = bytes((0xC0, 0))
DISCONNECT_PACKET = bytes((0xE0, 0))

FAILED = 0x80
"""Reason codes from here on say that it was not taken (2.4)."""
QUOTA_EXCEEDED = 0x97
"""A reason that passes by itself."""

MOST = 65_535
_LONGEST = 268_435_455
_USER, _CONTENT = 0x26, b"\x03\x00\x10application/json"
_EVENT_ID = bytes((_USER,)) + b"\x00\x08event_id"


class MqttProtocolError(Exception):
    """What came is not MQTT 5, or no answer of a broker to us."""


class Outgoing(NamedTuple):
    """One message as JSON; an empty payload clears what the broker retains of the topic."""

    topic: str
    payload: bytes
    event_id: str
    retain: bool = False


class Welcome(NamedTuple):
    """What the broker's CONNACK allows (3.2.2): `reason` 0 is success; packets have at most `longest` bytes."""

    reason: int
    receive_maximum: int = MOST
    longest: int = _LONGEST
    keep_alive: int | None = None
    text: str = ""


def connect(identifier: str, user: str | None, password: str | None, keep_alive: int) -> bytes:
    """CONNECT with a clean start and no session afterwards (3.1); `keep_alive` in seconds."""
    flags = 0x02 | (0x80 if user is not None else 0) | (0x40 if password is not None else 0)
    head = b"\x00\x04MQTT\x05" + struct.pack("!BHB", flags, keep_alive, 0)
    texts = [identifier, *(text for text in (user, password) if text is not None)]
    body = head + b"".join(_text(text) for text in texts)
    return b"\x10" + _variable(len(body)) + body


def publish(message: Outgoing, mid: int) -> bytes:
    """PUBLISH at QoS 1 with the event's id as a user property (3.3)."""
    topic, event_id = message.topic.encode(), message.event_id.encode()
    properties = b"%b%b%b%b" % (_CONTENT, _EVENT_ID, len(event_id).to_bytes(2, "big"), event_id)
    body = b"%b%b%b%b%b%b" % (
        len(topic).to_bytes(2, "big"),
        topic,
        mid.to_bytes(2, "big"),
        _variable(len(properties)),
        properties,
        message.payload,
    )
    return b"%b%b%b" % (b"\x33" if message.retain else b"\x32", _variable(len(body)), body)


class Packets:
    """Bytes as they come enter, whole packets leave: their type and what follows the length."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """Raises MqttProtocolError for a length of more than four bytes (1.5.5)."""
        data = self._rest + data if self._rest else data
        found: list[tuple[int, bytes]] = []
        at, end = 0, len(data)
        while end - at >= 2:
            length, start = data[at + 1], at + 2
            if length & 0x80:
                read = _read_variable(data, at + 1)
                if read is None:
                    break
                length, start = read
            if start + length > end:
                break
            found.append((data[at] & 0xF0, data[start : start + length]))
            at = start + length
        self._rest = data[at:]
        return found


def acknowledgement(body: bytes) -> tuple[int, int]:
    """The message's number and the reason of a PUBACK (3.4); without a reason it is success."""
    if len(body) < 2:
        raise MqttProtocolError("a PUBACK without a packet identifier")
    return int.from_bytes(body[:2], "big"), body[2] if len(body) > 2 else 0


def reason(body: bytes) -> int:
    """The reason of a DISCONNECT (3.14)."""
    return body[0] if body else 0


def welcome(body: bytes) -> Welcome:
    """What a CONNACK says; properties that a publisher can do without are skipped."""
    if len(body) < 2:
        raise MqttProtocolError("a CONNACK of less than two bytes")
    found: dict[int, int | str] = {}
    try:
        read = _read_variable(body, 2) if len(body) > 2 else (0, 2)
        if read is None:
            raise MqttProtocolError("a CONNACK whose properties have no length")
        length, at = read
        end = at + length
        while at < end:
            name = body[at]
            kind = _PROPERTIES.get(name)
            if kind is None:
                raise MqttProtocolError(f"a CONNACK with an unknown property {name:#x}")
            found[name], at = _read_property(body, at + 1, kind)
    except IndexError:
        raise MqttProtocolError("a CONNACK that ends too early") from None
    keep_alive = found.get(_SERVER_KEEP_ALIVE)
    return Welcome(
        body[1],
        int(found.get(_RECEIVE_MAXIMUM, MOST)),
        int(found.get(_MAXIMUM_PACKET_SIZE, _LONGEST)),
        None if keep_alive is None else int(keep_alive),
        str(found.get(_REASON_STRING, "")),
    )


_SERVER_KEEP_ALIVE, _REASON_STRING, _RECEIVE_MAXIMUM, _MAXIMUM_PACKET_SIZE = 0x13, 0x1F, 0x21, 0x27
_PROPERTIES: dict[int, int | str] = {
    **dict.fromkeys((0x24, 0x25, 0x28, 0x29, 0x2A), 1),
    **dict.fromkeys((_SERVER_KEEP_ALIVE, _RECEIVE_MAXIMUM, 0x22), 2),
    **dict.fromkeys((0x11, _MAXIMUM_PACKET_SIZE), 4),
    **dict.fromkeys((0x12, 0x15, 0x16, 0x1A, 0x1C, _REASON_STRING), "text"),
    _USER: "pair",
}
"""The properties of a CONNACK (2.2.2.2): how many bytes they have, or of what kind they are."""


def _read_property(body: bytes, at: int, kind: int | str) -> tuple[int | str, int]:
    if isinstance(kind, int):
        return int.from_bytes(_cut(body, at, kind), "big"), at + kind
    text = ""
    for _ in range(2 if kind == "pair" else 1):
        length = int.from_bytes(_cut(body, at, 2), "big")
        text = _cut(body, at + 2, length).decode(errors="replace")
        at += 2 + length
    return text, at


def _cut(body: bytes, at: int, length: int) -> bytes:
    if at + length > len(body):
        raise IndexError
    return body[at : at + length]


def _text(text: str) -> bytes:
    data = text.encode()
    return len(data).to_bytes(2, "big") + data


def _variable(number: int) -> bytes:
    """A variable byte integer (1.5.5)."""
    if number < 0x80:
        return bytes((number,))
    if number > _LONGEST:
        raise ValueError(f"a packet of {number} bytes; MQTT has at most {_LONGEST}")
    out = bytearray()
    while number:
        number, digit = divmod(number, 0x80)
        out.append(digit | 0x80 if number else digit)
    return bytes(out)


def _read_variable(data: bytes, at: int) -> tuple[int, int] | None:
    """The number and where it ends; None where it is not whole yet."""
    number = 0
    for position in range(4):
        if at + position >= len(data):
            return None
        digit = data[at + position]
        number |= (digit & 0x7F) << (7 * position)
        if not digit & 0x80:
            return number, at + position + 1
    raise MqttProtocolError("a length of more than four bytes")
