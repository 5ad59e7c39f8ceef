"""Starts a program that ends with whoever started it, however that went: `python bound.py PARENT COMMAND…`.

What enters: the process id of the parent and a command line. What leaves: nothing; the command takes this process's
place and is killed by the kernel once the parent is gone (Linux; elsewhere it is only started). It imports little, as
every process of a run is started through it.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def bind(parent: int) -> None:
    """End this process with the thread of `parent` that started it; at once where that is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            sys.exit(1)


def bound() -> tuple[str, ...]:
    """What to put before a command line so that its process ends with this one."""
    return sys.executable, "-I", "-S", __file__, str(os.getpid())


if __name__ == "__main__":
    bind(int(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - a program in our place, not a shell
