"""Folders and names that are still there after a power loss: a new name is durable once its folder is synced."""

from __future__ import annotations

import errno
import os
from pathlib import Path


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make the folder, and those above it that are missing; each name is durable when this returns."""
    if path.is_dir():
        return
    make_folder(path.parent)
    try:
        path.mkdir(mode, exist_ok=True)
    except FileExistsError:
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(path)) from None
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
