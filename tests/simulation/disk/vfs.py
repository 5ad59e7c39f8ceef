"""A file layer under the very SQLite that Python's `sqlite3` uses: it notes what changes, then lets it happen.

The default VFS is copied and its `xOpen` and `xDelete` replaced; an opened file gets a copy of its methods with
`xWrite`, `xTruncate` and `xSync` replaced. Locks, shared memory and reads stay SQLite's own. Nothing is really
synced: what a sync promises is kept by whoever is told of it.
See https://www.sqlite.org/c3ref/vfs.html and https://www.sqlite.org/c3ref/io_methods.html.
"""

from __future__ import annotations

import _sqlite3
import ctypes as c
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

OPEN_CREATE = 0x4
_SYNCS_ITS_FOLDER = 0x800 | 0x4000 | 0x80000  # main journal, super-journal, WAL: os_unix.c, UNIXFILE_DIRSYNC
_IOERR = 10

# The name of a file is handed on as the pointer that came: SQLite keeps it, and reads beyond its end.
_OPEN = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_void_p, c.c_int, c.POINTER(c.c_int))
_DELETE = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_char_p, c.c_int)
_WRITE = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_void_p, c.c_int, c.c_int64)
_TRUNCATE = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int64)
_SYNC = c.CFUNCTYPE(c.c_int, c.c_void_p, c.c_int)


class _Vfs(c.Structure):
    _fields_ = (
        ("iVersion", c.c_int),
        ("szOsFile", c.c_int),
        ("mxPathname", c.c_int),
        ("pNext", c.c_void_p),
        ("zName", c.c_char_p),
        ("pAppData", c.c_void_p),
        ("xOpen", c.c_void_p),
        ("xDelete", c.c_void_p),
        ("rest", c.c_void_p * 14),
    )


class _Methods(c.Structure):
    _fields_ = (
        ("iVersion", c.c_int),
        ("xClose", c.c_void_p),
        ("xRead", c.c_void_p),
        ("xWrite", c.c_void_p),
        ("xTruncate", c.c_void_p),
        ("xSync", c.c_void_p),
        ("rest", c.c_void_p * 13),
    )


class Recorder(ABC):
    """Is told of each change in the order in which it happens, before SQLite learns that it did."""

    @abstractmethod
    def created(self, path: str) -> None: ...

    @abstractmethod
    def written(self, path: str, offset: int, data: bytes) -> None: ...

    @abstractmethod
    def truncated(self, path: str, size: int) -> None: ...

    @abstractmethod
    def synced(self, path: str) -> None: ...

    @abstractmethod
    def folder_synced(self, folder: str) -> None: ...

    @abstractmethod
    def deleted(self, path: str) -> None: ...


class Unheard(Recorder):
    """For files that need no syncs: those of a test."""

    def created(self, path: str) -> None: ...
    def written(self, path: str, offset: int, data: bytes) -> None: ...
    def truncated(self, path: str, size: int) -> None: ...
    def synced(self, path: str) -> None: ...
    def folder_synced(self, folder: str) -> None: ...
    def deleted(self, path: str) -> None: ...


class _Layer:
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._library = _library()
        self._library.sqlite3_vfs_find.restype = c.POINTER(_Vfs)
        self._real = self._library.sqlite3_vfs_find(None)
        self._paths: dict[int, str] = {}
        self._unsynced_folder: set[str] = set()
        self._methods: dict[int, _Methods] = {}
        self._vfs = _Vfs()
        c.memmove(c.byref(self._vfs), self._real, c.sizeof(_Vfs))
        self._vfs.zName = b"recording"
        self._vfs.pNext = None
        # Kept as attributes: ctypes' callbacks must outlive every call from C.
        self._open, self._delete = _OPEN(self.open), _DELETE(self.delete)
        self._write, self._truncate, self._sync = (
            _WRITE(self.write),
            _TRUNCATE(self.truncate),
            _SYNC(self.sync),
        )
        self._vfs.xOpen = c.cast(self._open, c.c_void_p).value
        self._vfs.xDelete = c.cast(self._delete, c.c_void_p).value
        self._real_open = _OPEN(self._real.contents.xOpen)
        self._real_delete = _DELETE(self._real.contents.xDelete)

    def register(self) -> None:
        if self._library.sqlite3_vfs_register(c.byref(self._vfs), 1) != 0:
            raise RuntimeError("the recording VFS cannot be registered")

    def unregister(self) -> None:
        self._library.sqlite3_vfs_register(self._real, 1)
        self._library.sqlite3_vfs_unregister(c.byref(self._vfs))

    def _own(self, methods: int) -> _Methods:
        """Our copy of a table of methods."""
        mine = self._methods.get(methods)
        real = _Methods.from_address(methods)
        if mine is None:
            mine = self._methods[methods] = _Methods()
            size = {1: 13, 2: 17, 3: 19}[real.iVersion] * c.sizeof(c.c_void_p)
            c.memmove(c.byref(mine), methods, size)
            mine.xWrite = c.cast(self._write, c.c_void_p).value
            mine.xTruncate = c.cast(self._truncate, c.c_void_p).value
            mine.xSync = c.cast(self._sync, c.c_void_p).value
            self._real_write = _WRITE(real.xWrite)
            self._real_truncate = _TRUNCATE(real.xTruncate)
        return mine

    def open(self, _: int, name: int | None, file: int, flags: int, out: Any) -> int:
        path = None if name is None else os.fsdecode(c.string_at(name))
        fresh = path is not None and not Path(path).exists()
        done = self._real_open(c.cast(self._real, c.c_void_p).value, name, file, flags, out)
        methods = c.c_void_p.from_address(file)
        if done == 0 and path is not None and methods.value:
            if fresh:
                self._recorder.created(path)
                if flags & _SYNCS_ITS_FOLDER:
                    self._unsynced_folder.add(path)
            self._paths[file] = path
            methods.value = c.addressof(self._own(methods.value))
        return int(done)

    def delete(self, _: int, name: bytes, sync_folder: int) -> int:
        path = os.fsdecode(name)
        there = Path(path).exists()
        done = self._real_delete(c.cast(self._real, c.c_void_p).value, name, sync_folder)
        if done == 0 and there:
            self._recorder.deleted(path)
            if sync_folder:
                self._recorder.folder_synced(str(Path(path).parent))
        return int(done)

    def write(self, file: int, data: int, size: int, offset: int) -> int:
        self._recorder.written(self._paths[file], offset, c.string_at(data, size))
        return int(self._real_write(file, data, size, offset))

    def truncate(self, file: int, size: int) -> int:
        self._recorder.truncated(self._paths[file], size)
        return int(self._real_truncate(file, size))

    def sync(self, file: int, flags: int) -> int:
        path = self._paths[file]
        self._recorder.synced(path)
        if path in self._unsynced_folder:
            self._unsynced_folder.discard(path)
            self._recorder.folder_synced(str(Path(path).parent))
        return 0


def can_record() -> bool:
    """Whether this Python's SQLite can be reached: some are built into the interpreter with hidden names."""
    return hasattr(_library(), "sqlite3_vfs_register")


def _library() -> c.CDLL:
    """The symbols of the extension module are those of the SQLite that it is linked to."""
    return c.CDLL(getattr(_sqlite3, "__file__", None))


_kept: list[_Layer] = []
"""A layer stays for as long as the process: a connection that is closed late may still call it."""


@contextmanager
def under_sqlite(recorder: Recorder) -> Iterator[None]:
    """Connections opened within the block are recorded."""
    layer = _Layer(recorder)
    _kept.append(layer)
    layer.register()
    try:
        yield
    finally:
        layer.unregister()
