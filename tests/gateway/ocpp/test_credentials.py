"""What is known of a password without a hash."""

from __future__ import annotations

from domain.charge_point.passwords import hash_password
from gateway.ocpp.credentials import Credentials
from tests.gateway.ocpp.fakes import PASSWORD

STORED = hash_password(PASSWORD.encode(), bytes(16))


async def test_a_password_that_was_tried_is_known_at_once_right_or_wrong() -> None:
    known = Credentials()
    assert (known.known(PASSWORD.encode(), STORED), known.known(b"wrong", STORED)) == (None, None)
    assert await known.verify(PASSWORD.encode(), STORED)
    assert not await known.verify(b"wrong", STORED)
    assert (known.known(PASSWORD.encode(), STORED), known.known(b"wrong", STORED)) == (True, False)


async def test_a_new_password_makes_the_old_one_unknown() -> None:
    known = Credentials()
    await known.verify(PASSWORD.encode(), STORED)
    assert known.known(PASSWORD.encode(), hash_password(b"other", bytes(16))) is None


async def test_wrong_passwords_push_out_no_right_one() -> None:
    known = Credentials(most=3)
    await known.verify(PASSWORD.encode(), STORED)
    for number in range(10):
        await known.verify(b"guess %d" % number, STORED)
    assert known.known(PASSWORD.encode(), STORED) is True
    assert known.known(b"guess 0", STORED) is None
