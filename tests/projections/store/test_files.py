"""Databases are their owner's alone, also those that were made when they were not."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path

from projections.store.files import own_database, own_folder


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def test_a_database_and_what_sqlite_makes_beside_it_are_the_owners_alone(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.db"
    before = os.umask(0o022)
    try:
        own_folder(path.parent)
        own_database(path)
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("CREATE TABLE t (a)")
            connection.commit()
            made = {file.name: mode(file) for file in path.parent.iterdir()}
    finally:
        os.umask(before)
    assert made == {"x.db": 0o600, "x.db-wal": 0o600, "x.db-shm": 0o600}
    assert mode(path.parent) == 0o700
    connection.close()


def test_what_was_everybodys_becomes_the_owners_alone_and_keeps_what_it_holds(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    for name in ("x.db", "x.db-wal", "x.db-shm"):
        (tmp_path / name).write_bytes(b"kept")
        (tmp_path / name).chmod(0o644)
    own_database(path)
    assert {(mode(file), file.read_bytes()) for file in tmp_path.iterdir()} == {(0o600, b"kept")}


def test_a_folder_that_is_there_stays_as_it_is(tmp_path: Path) -> None:
    """It may hold what is none of ours."""
    tmp_path.chmod(0o755)
    own_folder(tmp_path)
    assert mode(tmp_path) == 0o755
