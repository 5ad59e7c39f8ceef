"""MQTT 5 packets, byte by byte as OASIS MQTT 5.0 writes them (sections in the docstrings)."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.mqtt.packets import (
    PUBACK,
    MqttProtocolError,
    Outgoing,
    Packets,
    Welcome,
    acknowledgement,
    connect,
    publish,
    welcome,
)


def test_connect_starts_clean_with_user_and_password() -> None:
    """3.1: name, version 5, flags user, password and clean start, 20 s, no properties, then the texts."""
    body = b"\x00\x04MQTT\x05\xc2\x00\x14\x00" + b"\x00\x02id" + b"\x00\x01u" + b"\x00\x02pw"
    assert connect("id", "u", "pw", 20) == bytes((0x10, len(body))) + body


def test_connect_without_credentials_names_none() -> None:
    assert connect("", None, None, 20) == b"\x10\x0d\x00\x04MQTT\x05\x02\x00\x14\x00\x00\x00"


def test_publish_carries_its_event_id_and_content_type() -> None:
    """3.3: QoS 1, topic, packet identifier, properties 0x03 content type and 0x26 user property, payload."""
    properties = b"\x03\x00\x10application/json" + b"\x26\x00\x08event_id\x00\x02e1"
    body = b"\x00\x03a/b\x01\x02" + bytes((len(properties),)) + properties + b"{}"
    assert publish(Outgoing("a/b", b"{}", "e1"), 0x0102) == b"\x32" + bytes((len(body),)) + body


def test_a_retained_message_has_its_flag_and_may_be_empty() -> None:
    packet = publish(Outgoing("a", b"", "e", retain=True), 1)
    assert packet[0] == 0x33
    assert packet.endswith(b"\x00\x01e")


def test_a_long_message_has_a_length_of_several_bytes() -> None:
    """1.5.5: 7 bits a byte, the lowest first."""
    packet = publish(Outgoing("a", bytes(20_000), "e"), 1)
    length = (packet[1] & 0x7F) | (packet[2] & 0x7F) << 7 | packet[3] << 14
    assert length == len(packet) - 4


@settings(deadline=None, max_examples=50)
@given(st.lists(st.binary(max_size=300), max_size=8), st.lists(st.integers(0, 2500), max_size=8))
def test_packets_are_whole_however_the_bytes_are_cut(bodies: list[bytes], cuts: list[int]) -> None:
    def packet(body: bytes) -> bytes:
        length = len(body)
        return (
            b"\x40"
            + (bytes((length,)) if length < 128 else bytes((length % 128 | 128, length // 128)))
            + body
        )

    data = b"".join(packet(body) for body in bodies)
    packets, found, before = Packets(), list[tuple[int, bytes]](), 0
    for cut in [*sorted(min(cut, len(data)) for cut in cuts), len(data)]:
        found += packets.feed(data[before:cut])
        before = cut
    assert found == [(PUBACK, body) for body in bodies]


def test_a_length_of_five_bytes_is_no_mqtt() -> None:
    with pytest.raises(MqttProtocolError):
        Packets().feed(b"\x40\xff\xff\xff\xff\x01")


def test_an_acknowledgement_without_a_reason_is_success() -> None:
    """3.4.2.1"""
    assert acknowledgement(b"\x01\x02") == (0x0102, 0)
    assert acknowledgement(b"\x00\x07\x10\x00") == (7, 0x10)
    with pytest.raises(MqttProtocolError):
        acknowledgement(b"\x01")


def test_a_welcome_says_what_the_broker_takes() -> None:
    """3.2.2.3: receive maximum, maximum packet size, server keep alive, and others of each form."""
    limits = b"\x21\x00\x14" + b"\x27\x00\x01\x00\x00" + b"\x13\x00\x05"
    others = b"\x12\x00\x01x" + b"\x26\x00\x01a\x00\x01b" + b"\x25\x01" + b"\x1f\x00\x02hi"
    properties = limits + others
    assert welcome(b"\x00\x00" + bytes((len(properties),)) + properties) == Welcome(0, 20, 65_536, 5, "hi")


def test_a_short_welcome_allows_everything() -> None:
    assert welcome(b"\x00\x00\x00") == Welcome(0)
    assert welcome(b"\x00\x87").reason == 0x87


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=60))
def test_a_damaged_welcome_is_said(body: bytes) -> None:
    with contextlib.suppress(MqttProtocolError):
        assert isinstance(welcome(body), Welcome)
