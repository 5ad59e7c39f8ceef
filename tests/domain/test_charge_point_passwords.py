"""Passwords of charge points: SEC-02, SEC-04."""

from __future__ import annotations

import hashlib

import pytest

from domain.charge_point.passwords import hash_password, is_heavy, is_key, verify_password

SALT = bytes(range(16))
KEY = bytes.fromhex("00ff10203040506070a0b0c0d0e0f0aabbccddee")


@pytest.mark.parametrize("stored_as", [KEY, KEY.hex().encode(), KEY.hex().upper().encode()])
@pytest.mark.parametrize("sent_as", [KEY, KEY.hex().encode(), KEY.hex().upper().encode()])
def test_an_authorization_key_is_the_same_as_bytes_and_as_hex_digits_SEC_02(
    stored_as: bytes, sent_as: bytes
) -> None:
    assert verify_password(sent_as, hash_password(stored_as, SALT))


@pytest.mark.parametrize("wrong", [b"", b"secreT", b"secret ", b"\xff\x00"])
def test_a_wrong_password_is_refused(wrong: bytes) -> None:
    assert not verify_password(wrong, hash_password(b"secret", SALT))


@pytest.mark.parametrize("password", [b"secret", b"secret\0", b"\0" * 8, KEY, b"x" * 100])
def test_zero_bytes_and_a_digest_of_its_own_are_no_other_spelling_of_a_password(password: bytes) -> None:
    """RFC 2104: HMAC pads a short key with zeros, and hashes a long one."""
    stored = hash_password(password, SALT)
    assert verify_password(password, stored)
    for other in (
        password + b"\0",
        password + bytes(20),
        password.rstrip(b"\0"),
        hashlib.sha256(password).digest(),
    ):
        assert other == password or not verify_password(other, stored)


def test_the_text_is_salted_and_holds_no_password_SEC_04() -> None:
    one, other = hash_password(b"secret", SALT), hash_password(b"secret", SALT[::-1])
    assert one != other
    assert "secret" not in one
    expected = hashlib.scrypt(b"secret", salt=SALT, n=2**14, r=8, p=1, dklen=32)
    assert one.startswith("scrypt$14$AAECAwQFBgcICQoLDA0ODw$")
    assert verify_password(b"secret", one)
    assert len(expected) == 32


@pytest.mark.parametrize(
    "damaged", ["", "plain", "scrypt$14$x", "scrypt$99$AA$AA", "md5$1$AA$AA", "scrypt$4$A$A"]
)
def test_a_damaged_text_lets_nobody_in(damaged: str) -> None:
    assert not verify_password(b"secret", damaged)


def test_a_key_costs_a_light_hash_and_a_word_a_heavy_one() -> None:
    key, word = b"00112233445566778899aabbccddeeff", b"a word"
    assert (is_key(key), is_key(word)) == (True, False)
    assert (is_heavy(hash_password(key, bytes(16))), is_heavy(hash_password(word, bytes(16)))) == (
        False,
        True,
    )
    assert is_heavy("no hash")
