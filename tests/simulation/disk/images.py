"""The files that a power loss could leave at one point of a recording.

What was synced is there. Of what came after a file's last sync each 512-byte sector is there or not, in any order; a
size that was not synced may be the old one; a name that was made or taken away without a sync of its folder may be
missing or back.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from tests.simulation.disk.recording import Created, Deleted, FolderSynced, Step, Synced, Truncated, Written

SECTOR = 512


@dataclass(slots=True)
class _File:
    folder: bool = False
    durable: bytearray = field(default_factory=bytearray)
    pending: list[Written | Truncated] = field(default_factory=list)


def _write(content: bytearray, offset: int, data: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(data)] = data


def _truncate(content: bytearray, size: int) -> None:
    del content[size:]
    content.extend(bytes(size - len(content)))


class Disk:
    """What is on the disk for certain, and what may be. `deaf`: files whose syncs do nothing, as on a lying disk."""

    def __init__(self, deaf: Callable[[str], bool] = lambda _: False) -> None:
        self._deaf = deaf
        self._names: dict[str, _File] = {}
        self._durable: dict[str, _File] = {}
        self._pending: list[tuple[str, _File | None]] = []

    @classmethod
    def of(cls, folder: Path) -> Disk:
        """A disk that holds these files for certain."""
        disk = cls()
        for path in sorted(folder.rglob("*")):
            content = bytearray() if path.is_dir() else bytearray(path.read_bytes())
            disk._durable[str(path.relative_to(folder))] = _File(path.is_dir(), content)
        disk._names = dict(disk._durable)
        return disk

    def run(self, steps: Iterable[Step]) -> None:
        for step in steps:
            match step:
                case Created(path, folder):
                    self._names[path] = _File(folder)
                    self._pending.append((path, self._names[path]))
                case Deleted(path):
                    self._names.pop(path, None)
                    self._pending.append((path, None))
                case Written(path) | Truncated(path):
                    self._names[path].pending.append(step)
                case Synced(path) if not self._deaf(path):
                    self._sync(self._names[path])
                case FolderSynced(path):
                    mine = [entry for entry in self._pending if str(Path(entry[0]).parent) == path]
                    self._pending = [entry for entry in self._pending if entry not in mine]
                    for name, file in mine:
                        self._name(self._durable, name, file)

    def _sync(self, file: _File) -> None:
        for change in file.pending:
            if isinstance(change, Written):
                _write(file.durable, change.offset, change.data)
            else:
                _truncate(file.durable, change.size)
        file.pending.clear()

    @staticmethod
    def _name(names: dict[str, _File], name: str, file: _File | None) -> None:
        if file is None:
            names.pop(name, None)
        else:
            names[name] = file

    def leave(self, into: Path, chance: random.Random) -> None:
        """Make the files of one power loss."""
        # Nothing of it, all of it, or a part: most faults hide in the first two.
        share = chance.choice((0.0, 1.0, 0.5, chance.random()))
        names = dict(self._durable)
        for name, file in self._pending:
            if chance.random() < share:
                self._name(names, name, file)
        into.mkdir(parents=True)
        for name, file in sorted(names.items()):
            path = into / name
            if not path.parent.is_dir():
                continue  # its folder is lost
            if file.folder:
                path.mkdir()
            else:
                path.write_bytes(self._torn(file, share, chance))

    @staticmethod
    def _torn(file: _File, share: float, chance: random.Random) -> bytes:
        content = bytearray(file.durable)
        for change in file.pending:
            if isinstance(change, Truncated):
                if chance.random() < share:
                    _truncate(content, change.size)
                continue
            at = 0
            while at < len(change.data):
                size = SECTOR - (change.offset + at) % SECTOR
                if chance.random() < share:
                    _write(content, change.offset + at, change.data[at : at + size])
                at += size
        return bytes(content)
