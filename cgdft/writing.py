"""Files that are written whole or not at all."""

from __future__ import annotations

import errno
import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from shutil import copymode
from typing import BinaryIO, TextIO

#: Seconds for which a lock is waited for: the workers of a killed training have it, and see within five that they are alone.
PATIENCE = 6.0


def write_whole(path: Path, content: str | bytes | memoryview) -> None:
    """A file of this content; see `whole`."""
    with whole(path) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def whole(path: Path) -> Iterator[BinaryIO]:
    """Write what becomes a file of this name, or where a link of that name leads, only once all of it is on disk.

    Raises:
        OSError: it cannot be written, as on a full disk; what was there before stays. Or what is there is no file.
    """
    path = path.resolve()
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, f"{path} must be a file or a new name, got a folder or a device")
    partial = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        with open(partial, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.exists():
            copymode(path, partial)
        os.replace(partial, path)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        do = "make room and run again" if full else "choose another place"
        why = f"{path} cannot be written ({error.strerror}); what was there before is intact: {do}"
        raise OSError(error.errno, why) from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes out of a folder meanwhile, where the system can; the lock goes with the process.

    What one that was killed had half written is removed.

    Raises:
        ValueError: another one is in it, or it is a file.
    """
    if folder.is_file():
        raise ValueError(f"`output` must be a folder, got {folder}, which is a file")
    folder.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + PATIENCE
    with open(folder / ".lock", "a") as file:
        while _is_taken(file):
            if time.monotonic() > until:
                raise ValueError(f"`output` must be a folder of its own, got {folder}, where another training is running")
            time.sleep(0.1)
        for left in folder.glob(".*.part"):
            with suppress(OSError):
                left.unlink()
        yield


def _is_taken(file: TextIO) -> bool:
    """Whether another process has the lock of a file; else this one has it now, where the system can."""
    try:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (ImportError, OSError):  # Windows, or a file system without locks
        return False
    return False
