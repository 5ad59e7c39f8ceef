"""One run as a list: every change of every file below one folder, and between them what was acknowledged."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from tests.simulation.disk.vfs import Recorder, under_sqlite


@dataclass(frozen=True, slots=True)
class Created:
    path: str
    folder: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    path: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Truncated:
    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Synced:
    path: str


@dataclass(frozen=True, slots=True)
class FolderSynced:
    path: str


@dataclass(frozen=True, slots=True)
class Deleted:
    path: str


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that the product was asked for (`acknowledged` False) or has promised."""

    acknowledged: bool
    kind: str
    what: tuple[Any, ...]


Step: TypeAlias = Created | Written | Truncated | Synced | FolderSynced | Deleted | Fact


class Recording(Recorder):
    """Paths are relative to `root`; what lies elsewhere is nobody's concern."""

    def __init__(self, root: Path) -> None:
        self.root = os.path.realpath(root)
        self.steps: list[Step] = []

    def asked(self, kind: str, *what: Any) -> None:
        self.steps.append(Fact(False, kind, what))

    def acknowledged(self, kind: str, *what: Any) -> None:
        self.steps.append(Fact(True, kind, what))

    def created(self, path: str, folder: bool = False) -> None:
        self._note(path, lambda name: Created(name, folder))

    def written(self, path: str, offset: int, data: bytes) -> None:
        self._note(path, lambda name: Written(name, offset, data))

    def truncated(self, path: str, size: int) -> None:
        self._note(path, lambda name: Truncated(name, size))

    def synced(self, path: str) -> None:
        self._note(path, Synced)

    def folder_synced(self, folder: str) -> None:
        self._note(folder, FolderSynced)

    def deleted(self, path: str) -> None:
        self._note(path, Deleted)

    def _note(self, path: str, step: Any) -> None:
        name = os.path.relpath(os.path.realpath(path), self.root)
        if not name.startswith(".."):
            self.steps.append(step(name))

    @contextmanager
    def running(self) -> Iterator[None]:
        """Record what SQLite does, and what our own code does to files and folders by itself, within the block."""
        with under_sqlite(self), self._under_python():
            yield

    @contextmanager
    def _under_python(self) -> Iterator[None]:
        real = (os.open, os.close, os.pwrite, os.fsync, os.mkdir, os.ftruncate)
        paths: dict[int, str] = {}

        def opened(path: Any, flags: int, *rest: Any, **named: Any) -> int:
            fresh = bool(flags & os.O_CREAT) and not Path(path).exists()
            descriptor = real[0](path, flags, *rest, **named)
            paths[descriptor] = os.fspath(path)
            if fresh:
                self.created(os.fspath(path))
            return descriptor

        def closed(descriptor: int) -> None:
            paths.pop(descriptor, None)
            real[1](descriptor)

        def written(descriptor: int, data: bytes, offset: int) -> int:
            if descriptor in paths:
                self.written(paths[descriptor], offset, bytes(data))
            return real[2](descriptor, data, offset)

        def synced(descriptor: int) -> None:
            if (path := paths.get(descriptor)) is not None:
                self.folder_synced(path) if Path(path).is_dir() else self.synced(path)

        def made(path: Any, *rest: Any, **named: Any) -> None:
            real[4](path, *rest, **named)
            self.created(os.fspath(path), folder=True)

        def truncated(descriptor: int, size: int) -> None:
            if descriptor in paths:
                self.truncated(paths[descriptor], size)
            real[5](descriptor, size)

        ours = (opened, closed, written, synced, made, truncated)
        names = ("open", "close", "pwrite", "fsync", "mkdir", "ftruncate")
        for name, function in zip(names, ours, strict=True):
            setattr(os, name, function)
        try:
            yield
        finally:
            for name, function in zip(names, real, strict=True):
                setattr(os, name, function)
