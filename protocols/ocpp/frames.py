"""OCPP-J frames: `[2,"id","Action",{}]`, `[3,"id",{}]`, `[4,"id","code","description",{}]` (OCPP-J 1.6, section 4).

In: one websocket text frame. Out: a `Call`, `CallResult` or `CallError` whose payload is still bytes, or a value that
says what is wrong: `Ignored` (nothing to answer, J-12, J-22) or `FrameError` (malformed, J-17). `parse` raises
nothing, whatever the frame holds. It never looks into a payload, and no description quotes the frame (J-14).
"""

import re
from enum import StrEnum
from itertools import accumulate
from typing import Annotated, Final, TypeAlias

import msgspec
from msgspec import Meta, Raw

from protocols.ocpp.message import ErrorCode, WireError

CALL: Final = 2
CALL_RESULT: Final = 3
CALL_ERROR: Final = 4

LONGEST_ID: Final = 255
LONGEST_ECHO: Final = 1024
"""An id of ours has 36 characters at most (J-07); longer ones are taken, or refused under their own name."""

MessageId = Annotated[str, Meta(min_length=1, max_length=LONGEST_ID)]
"""Unique among the calls of one sender on one connection (J-07, J-08)."""

_EMPTY = Raw(b"{}")


class Call(msgspec.Struct, frozen=True, array_like=True, tag=CALL, forbid_unknown_fields=True):
    """A request. `payload` is unread JSON."""

    id: MessageId
    action: str
    payload: Raw


class CallResult(msgspec.Struct, frozen=True, array_like=True, tag=CALL_RESULT, forbid_unknown_fields=True):
    """The answer to the call with the same id. `payload` is unread JSON."""

    id: MessageId
    payload: Raw


class CallError(msgspec.Struct, frozen=True, array_like=True, tag=CALL_ERROR, forbid_unknown_fields=True):
    """The refusal of the call with the same id. `code` is as sent; `error` is what it means, if known."""

    id: MessageId
    code: str
    description: str = ""
    details: Raw = _EMPTY

    @property
    def error(self) -> ErrorCode | None:
        """The code in the spelling of 1.6, from either spelling (J-13); None when no standard knows it."""
        return _CODES.get(self.code)


class Ignored(msgspec.Struct, frozen=True):
    """A frame that gets no answer and is no fault: empty text, or a message type that 1.6 does not have."""

    reason: str


class Fault(StrEnum):
    """What is wrong with a malformed frame."""

    TOO_LARGE = "too large"
    TOO_DEEP = "too deep"
    NOT_JSON = "not JSON"
    NOT_A_FRAME = "not a frame"


class FrameError(msgspec.Struct, frozen=True):
    """A malformed frame. `kind` is its message type and `id` its message id, where they could be read."""

    fault: Fault
    description: str
    kind: int | None = None
    id: str | None = None
    code: ErrorCode = ErrorCode.FORMATION_VIOLATION

    @property
    def answerable(self) -> bool:
        """Whether a CALLERROR is due: only a call is answered, and only under its own id (J-17)."""
        return self.kind == CALL and self.id is not None


class Limits(msgspec.Struct, frozen=True):
    """How large (bytes) and how deep (nested arrays and objects, the frame's own array included) a frame may be."""

    size: int = 1024 * 1024
    depth: int = 32


Frame: TypeAlias = Call | CallResult | CallError | Ignored | FrameError

DEFAULT_LIMITS: Final = Limits()

_DECODER: msgspec.json.Decoder[Call | CallResult | CallError] = msgspec.json.Decoder(
    Call | CallResult | CallError
)
_ELEMENTS = msgspec.json.Decoder(list[Raw])
_ANY = msgspec.json.Decoder()
_ENCODER = msgspec.json.Encoder()

_CODES: Final = {code.value: code for code in ErrorCode} | {
    "OccurrenceConstraintViolation": ErrorCode.OCCURRENCE_CONSTRAINT_VIOLATION,
    "FormatViolation": ErrorCode.FORMATION_VIOLATION,
}

_HEAD = re.compile(r'\s*\[\s*([2-4])\s*,\s*"([^"\\\x00-\x1f]{1,255})"\s*(?:[,\]]|\Z)')
# Possessive, and content with a missing end quote: a frame of escaped quotes must not cost quadratic time.
_TEXTS = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_NOT_STRUCTURE = bytes(set(range(256)) - set(b'[]{}"'))
_QUOTE, _BACKSLASH = b'"\\'
_STEPS = {91: 1, 123: 1, 93: -1, 125: -1}


def parse(frame: str | bytes, limits: Limits = DEFAULT_LIMITS) -> Frame:
    """Read one text frame. Every outcome is a value. The payload is JSON, and nothing more is known of it."""
    try:
        if isinstance(frame, str):
            frame = frame.encode()
        elif not frame.isascii():
            str(frame, "utf-8")
    except UnicodeError:
        return FrameError(Fault.NOT_JSON, "the frame is not UTF-8 text")
    if len(frame) > limits.size:
        return FrameError(Fault.TOO_LARGE, f"the frame is larger than {limits.size} bytes")
    if len(frame) > 2 * limits.depth and _is_deeper(frame, limits.depth):
        kind, message_id = _head(frame)
        return FrameError(Fault.TOO_DEEP, f"the frame is nested deeper than {limits.depth}", kind, message_id)
    try:
        return _DECODER.decode(frame)
    except (msgspec.DecodeError, RecursionError):
        return _diagnose(frame)


def _is_deeper(frame: bytes, depth: int) -> bool:
    """Whether brackets outside texts nest deeper. Cheap for what charge points send, linear for anything."""
    if len(frame) <= 2048 and frame.count(b"[") + frame.count(b"{") <= depth:
        return False
    if _BACKSLASH in frame:
        frame = _TEXTS.sub(b"", frame)
    structure = frame.translate(None, _NOT_STRUCTURE).replace(b'""', b"")
    if _QUOTE in structure:
        structure = _TEXTS.sub(b"", structure)
    left = structure
    for _ in range(depth // 2):  # each round takes away the innermost layer, or two
        left = left.replace(b"{}", b"").replace(b"[]", b"")
        if not left:
            return False
    return max(accumulate(map(_STEPS.__getitem__, structure)), default=0) > depth


def _head(frame: bytes) -> tuple[int | None, str | None]:
    """Message type and id from the first characters of a frame that cannot be read as a whole."""
    match = _HEAD.match(frame[:512].decode(errors="replace"))
    return (int(match[1]), match[2]) if match else (None, None)


def _diagnose(frame: bytes) -> Frame:
    """Say what is wrong with a frame that the decoder refused."""
    if not frame.strip():
        return Ignored("empty frame")
    try:
        elements = _ELEMENTS.decode(frame)
    except msgspec.ValidationError:
        return FrameError(Fault.NOT_A_FRAME, "the frame is not an array")
    except (msgspec.DecodeError, RecursionError):
        kind, message_id = _head(frame)
        return FrameError(Fault.NOT_JSON, "the frame is not JSON", kind, message_id)
    kind_found = _value(elements, 0)
    if not isinstance(kind_found, int) or isinstance(kind_found, bool):
        return FrameError(Fault.NOT_A_FRAME, "the frame does not begin with a message type number")
    if kind_found not in (CALL, CALL_RESULT, CALL_ERROR):
        return Ignored("unknown message type")
    id_found = _value(elements, 1)
    if not isinstance(id_found, str) or not 1 <= len(id_found) <= LONGEST_ID:
        readable = isinstance(id_found, str) and 1 <= len(id_found) <= LONGEST_ECHO
        what = f"the message id is not a text of 1 to {LONGEST_ID} characters"
        return FrameError(Fault.NOT_A_FRAME, what, kind_found, str(id_found) if readable else None)
    if kind_found == CALL_ERROR:
        return _lenient_error(id_found, elements)
    wanted = 4 if kind_found == CALL else 3
    if len(elements) != wanted:
        what = f"a frame of type {kind_found} has {wanted} elements, not {len(elements)}"
    else:
        what = "the action is not a text"
    return FrameError(Fault.NOT_A_FRAME, what, kind_found, id_found)


def _lenient_error(message_id: str, elements: list[Raw]) -> CallError:
    """A refusal ends its call even when it is incomplete."""
    code, description = _value(elements, 2), _value(elements, 3)
    return CallError(
        message_id,
        code if isinstance(code, str) else ErrorCode.GENERIC_ERROR.value,
        description if isinstance(description, str) else "",
        elements[4] if len(elements) > 4 else _EMPTY,
    )


def _value(elements: list[Raw], index: int) -> object:
    if index >= len(elements):
        return None
    try:
        value: object = _ANY.decode(elements[index])
    except (msgspec.DecodeError, RecursionError):
        return None
    return value


def encode_call(message_id: str, action: str, payload: bytes) -> bytes:
    """A CALL frame around an encoded request."""
    return _ENCODER.encode(Call(message_id, action, Raw(payload)))


def encode_result(message_id: str, payload: bytes) -> bytes:
    """A CALLRESULT frame around an encoded confirmation."""
    return _ENCODER.encode(CallResult(message_id, Raw(payload)))


def encode_error(message_id: str, code: ErrorCode, description: str = "") -> bytes:
    """A CALLERROR frame. Details stay empty: they would only repeat what the peer said (J-14)."""
    return _ENCODER.encode(CallError(message_id, code.value, description[:255]))


def encode_refusal(message_id: str, error: WireError | FrameError) -> bytes:
    """The CALLERROR frame for a refused payload or a malformed frame."""
    return encode_error(message_id, error.code, error.description)
