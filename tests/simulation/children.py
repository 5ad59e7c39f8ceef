"""Children of this process that run worlds: they begin with its genesis, end with it whatever ends it, and without
collecting what is left."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Final, TypeVar

from bench.bound import bind

T = TypeVar("T")

PORTION: Final = 50
"""Seeds of one child: a world leaves some 0.8 MB behind."""
FORKED: Final = multiprocessing.get_context("fork")


def apart(work: Callable[[], T]) -> T:
    """What a child makes of it. Raises RuntimeError where the child ends without an answer."""
    receiver, sender = FORKED.Pipe(duplex=False)

    parent = os.getpid()

    def tell(to: Connection) -> None:
        bind(parent)
        to.send(work())

    child = FORKED.Process(target=tell, args=(sender,))
    child.start()
    sender.close()
    try:
        answer: T = receiver.recv()
    except EOFError:
        child.join()
        raise RuntimeError(f"a child ended with exit status {child.exitcode}") from None
    child.join()
    return answer
