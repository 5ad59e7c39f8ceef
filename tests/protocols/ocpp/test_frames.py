"""Frames of OCPP-J: what is read, what is ignored, what is malformed, and what may be answered."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protocols.ocpp.frames import (
    Call,
    CallError,
    CallResult,
    Fault,
    FrameError,
    Ignored,
    Limits,
    encode_call,
    encode_error,
    encode_refusal,
    encode_result,
    parse,
)
from protocols.ocpp.message import ErrorCode, WireError
from tests.laws import tried


def test_a_call_is_read_with_its_payload_untouched() -> None:
    call = parse('[2,"19223201","BootNotification",{"chargePointModel": "X"}]')
    assert isinstance(call, Call)
    assert (call.id, call.action, bytes(call.payload)) == (
        "19223201",
        "BootNotification",
        b'{"chargePointModel": "X"}',
    )


def test_a_result_is_read() -> None:
    result = parse(b' [ 3 , "a" , {"status":"Accepted"} ] ')
    assert isinstance(result, CallResult)
    assert (result.id, bytes(result.payload)) == ("a", b'{"status":"Accepted"}')


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        ("OccurenceConstraintViolation", ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION),
        ("OccurrenceConstraintViolation", ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION),
        ("FormationViolation", ErrorCode.FORMATION_VIOLATION),
        ("FormatViolation", ErrorCode.FORMATION_VIOLATION),
        ("NotSupported", ErrorCode.NOT_SUPPORTED),
        ("Whatever", None),
    ],
)
def test_both_spellings_of_an_error_code_are_understood_j13(code: str, meaning: ErrorCode | None) -> None:
    error = parse(f'[4,"a","{code}","why",{{}}]')
    assert isinstance(error, CallError)
    assert (error.code, error.error, error.description) == (code, meaning, "why")


@pytest.mark.parametrize(
    ("frame", "code", "description"),
    [
        ('[4,"a"]', "GenericError", ""),
        ('[4,"a","InternalError"]', "InternalError", ""),
        ('[4,"a","InternalError",null,null]', "InternalError", ""),
        ('[4,"a",7,8,9,10]', "GenericError", ""),
    ],
)
def test_an_incomplete_refusal_still_ends_its_call(frame: str, code: str, description: str) -> None:
    error = parse(frame)
    assert isinstance(error, CallError)
    assert (error.id, error.code, error.description) == ("a", code, description)


@pytest.mark.parametrize(
    "frame", ["", "  \n", '[1,"a"]', '[5,"a",{}]', '[6,"a","B",{}]', '[-2,"a","B",{}]', "[99]"]
)
def test_empty_frames_and_unknown_message_types_are_ignored_j12_j22(frame: str) -> None:
    assert isinstance(parse(frame), Ignored)


@pytest.mark.parametrize(
    ("frame", "fault", "answerable"),
    [
        ('[2,"x","Heartbeat"]', Fault.NOT_A_FRAME, True),
        ('[2,"x","Heartbeat",{},{}]', Fault.NOT_A_FRAME, True),
        ('[2,"x",["Heartbeat"],{}]', Fault.NOT_A_FRAME, True),
        ('[2,"x","Heartbeat",{"a":}]', Fault.NOT_JSON, True),
        ('[2,"x","Heartbeat",{}', Fault.NOT_JSON, True),
        ('[2,"x","Heartbeat",{"a":NaN}]', Fault.NOT_JSON, True),
        ('[2,"x","Heartbeat",{"a":"\\ud800"}]', Fault.NOT_JSON, True),
        ('[2,"x","Heartbeat",{}]]', Fault.NOT_JSON, True),
        ('[2,"x","Heartbeat",' + "[" * 50, Fault.TOO_DEEP, True),
        ("[" * 20_000, Fault.TOO_DEEP, False),
        ('[3,"x"]', Fault.NOT_A_FRAME, False),
        ('[3,"x",{]', Fault.NOT_JSON, False),
        ("[2]", Fault.NOT_A_FRAME, False),
        ("[]", Fault.NOT_A_FRAME, False),
        ("{}", Fault.NOT_A_FRAME, False),
        ("7", Fault.NOT_A_FRAME, False),
        ('[2.0,"x","Heartbeat",{}]', Fault.NOT_A_FRAME, False),
        ('["2","x","Heartbeat",{}]', Fault.NOT_A_FRAME, False),
        ('[true,"x","Heartbeat",{}]', Fault.NOT_A_FRAME, False),
        ('[2,7,"Heartbeat",{}]', Fault.NOT_A_FRAME, False),
        ('[2,"","Heartbeat",{}]', Fault.NOT_A_FRAME, False),
        ('[2,"' + "x" * 1025 + '","Heartbeat",{}]', Fault.NOT_A_FRAME, False),
        ("not json", Fault.NOT_JSON, False),
        ('[2,"\ud800","Heartbeat",{}]', Fault.NOT_JSON, False),
    ],
)
def test_a_malformed_frame_is_answered_only_under_a_readable_id_of_a_call_j17(
    frame: str, fault: Fault, answerable: bool
) -> None:
    error = parse(frame)
    assert isinstance(error, FrameError)
    assert (error.fault, error.answerable) == (fault, answerable)
    assert (error.id == "x" and error.kind == 2) is answerable


@pytest.mark.parametrize("length", [36, 37, 38, 255])
def test_an_id_is_taken_although_it_has_more_than_36_characters_j07(length: int) -> None:
    """Its sender waits for an answer: a UUID in braces has 38."""
    call = parse('[2,"' + "ä" * length + '","Heartbeat",{}]')
    assert isinstance(call, Call)
    assert call.id == "ä" * length


@pytest.mark.parametrize("length", [256, 1024])
def test_an_id_that_is_too_long_is_refused_under_its_own_name_j17(length: int) -> None:
    error = parse('[2,"' + "x" * length + '","Heartbeat",{}]')
    assert isinstance(error, FrameError)
    assert (error.answerable, error.id) == (True, "x" * length)


def test_bytes_that_are_not_utf8_are_malformed() -> None:
    error = parse(b'[2,"x","Heartbeat",{"a":"\xff"}]')
    assert isinstance(error, FrameError)
    assert error.fault is Fault.NOT_JSON


def test_a_frame_above_the_size_limit_is_refused_unread_j22() -> None:
    error = parse('[2,"x","DataTransfer",{"data":"' + "a" * 100 + '"}]', Limits(size=100))
    assert isinstance(error, FrameError)
    assert error.fault is Fault.TOO_LARGE
    assert not error.answerable


def test_depth_counts_brackets_outside_texts_only() -> None:
    deepest = '[2,"x","A",' + "[" * 31 + "]" * 31 + "]"
    assert isinstance(parse(deepest), Call)
    too_deep = '[2,"x","A",' + "[" * 32 + "]" * 32 + "]"
    assert isinstance(parse(too_deep), FrameError)
    in_text = '[2,"x","A",{"a":"\\"' + "[" * 100 + '"}]'
    assert isinstance(parse(in_text), Call)
    hidden = '[2,"x","A",' + '["]",' * 40 + "1" + "]" * 40 + "]"
    assert isinstance(parse(hidden), FrameError)


def test_a_megabyte_of_escaped_quotes_costs_linear_time() -> None:
    frame = '[2,"x","A",' + "[" * 40 + '"' + '\\"' * 500_000
    error = parse(frame)
    assert isinstance(error, FrameError)
    assert error.fault is Fault.TOO_DEEP


def test_descriptions_never_quote_the_frame_j14() -> None:
    for frame in ('[2,"x","SECRET"]', '[2,"x","SECRET",{"idTag":"SECRET"', '[2,"x",{"SECRET":1},{}]'):
        error = parse(frame)
        assert isinstance(error, FrameError)
        assert "SECRET" not in error.description


def test_frames_are_written_compactly() -> None:
    assert encode_call("1", "Heartbeat", b"{}") == b'[2,"1","Heartbeat",{}]'
    assert encode_result("1", b'{"a":1}') == b'[3,"1",{"a":1}]'
    assert encode_error("1", ErrorCode.NOT_SUPPORTED, "no") == b'[4,"1","NotSupported","no",{}]'


def test_a_refused_payload_becomes_a_refusal_with_the_right_spelling() -> None:
    error = WireError(ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION, "too few")
    assert encode_refusal("1", error) == b'[4,"1","OccurenceConstraintViolation","too few",{}]'


def test_a_description_is_cut_at_255_characters() -> None:
    error = parse(encode_error("1", ErrorCode.GENERIC_ERROR, "ä" * 300))
    assert isinstance(error, CallError)
    assert len(error.description) == 255


@given(st.binary(max_size=200) | st.text(max_size=200))
@settings(deadline=None, max_examples=tried(200))
def test_no_frame_raises(frame: bytes | str) -> None:
    assert parse(frame) is not None


@given(st.text(st.characters(codec="utf-8"), min_size=1, max_size=36), st.text(st.characters(codec="utf-8")))
@settings(deadline=None, max_examples=tried(100))
def test_what_is_written_is_read_back(message_id: str, action: str) -> None:
    call = parse(encode_call(message_id, action, b'{"a":[1]}'))
    assert isinstance(call, Call)
    assert (call.id, call.action, bytes(call.payload)) == (message_id, action, b'{"a":[1]}')
