"""One HDF5 file per record: written whole or not at all, and checked by its content when read."""

import hashlib
import json
import os
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np


class CorruptCache(ValueError):
    """A stored file is truncated, edited or not one of ours: delete it, or let `reference` compute it again."""


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """Folder of stored references: `cache`, else $CGDFT_CACHE, else $XDG_CACHE_HOME (~/.cache) /cgdft/references."""
    if cache is not None:
        return Path(cache).expanduser()
    if chosen := os.environ.get("CGDFT_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cgdft" / "references"


def write_record(path: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Write `record` (numpy arrays, and values that JSON knows) to the HDF5 file `path`.

    The file grows under a temporary name in the same folder and is then renamed, so that a process killed on the way
    never leaves half a file under the name `path`.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: value for name, value in record.items() if isinstance(value, np.ndarray)}
    values = json.dumps({name: value for name, value in record.items() if name not in arrays}, sort_keys=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with h5py.File(temporary, "w") as file:
            for name, array in arrays.items():
                file.create_dataset(name, data=array)
            file.attrs["values"] = values
            file.attrs["checksum"] = _checksum(arrays, values)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Record written by `write_record`.

    Raises FileNotFoundError, and `CorruptCache` where the content does not match its checksum.
    """
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"`path` must be a stored reference, got {path}: there is no such file")
    try:
        with h5py.File(path, "r") as file:
            arrays = {name: np.asarray(file[name][()]) for name in file}
            values, checksum = str(file.attrs["values"]), str(file.attrs["checksum"])
        intact = checksum == _checksum(arrays, values)
    except (OSError, KeyError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise CorruptCache(f"`path` must be a stored reference, got {path}, which cannot be read: {error}") from error
    if not intact:
        raise CorruptCache(f"`path` must be an intact stored reference, got {path}: its content was changed; delete it")
    return {**arrays, **json.loads(values)}


def _checksum(arrays: Mapping[str, Any], values: str) -> str:
    digest = hashlib.sha256(values.encode())
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
