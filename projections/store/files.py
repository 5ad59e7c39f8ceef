"""Files that belong to one user: a database holds what nobody else on the machine may read."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from projections.store.folders import make_folder

BESIDE = ("", "-wal", "-shm", "-journal")
"""What SQLite makes beside a database, with the mode of the database."""


def own_folder(folder: Path) -> None:
    """Make the folder where it is missing, for its owner alone and durably; one that is there stays as it is."""
    make_folder(folder, 0o700)


def own_database(path: Path) -> None:
    """Make an empty file for its owner alone, or take from others what they may do with the one that is there.

    Called before the database is opened; one that is there is not opened, which would drop SQLite's locks.
    """
    with contextlib.suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    for end in BESIDE:
        file = path.with_name(path.name + end)
        with contextlib.suppress(FileNotFoundError):
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)
