"""Records in HDF5 files: written whole or not at all, and checked before they are read."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from cgdft.writing import write_whole

#: Of the stored values: the names of arrays in mappings, in their order, which HDF5 does not keep.
KEYS = "keys of mappings"
#: What follows the content of a file, with its checksum: a library that reads damaged HDF5 may never end.
SEAL = b"\nsha256 of the above: "


class CorruptCache(ValueError):
    """A stored file is truncated, edited or not one of ours: delete it, or let `reference` compute it again."""


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """Folder of stored references: `cache`, else $CGDFT_CACHE, else $XDG_CACHE_HOME (~/.cache) /cgdft/references."""
    if cache is not None:
        return Path(cache).expanduser()
    if chosen := os.environ.get("CGDFT_CACHE"):
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cgdft" / "references"


def writable(folder: Path) -> Path:
    """The folder, made if there is none; raises OSError before any work, where it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    except OSError as error:
        why = f"`cache` must be a folder that can be written to, got {folder} ({error.strerror}); tell another one"
        raise OSError(error.errno, why) from error
    return folder


def write_record(path: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
    """Write `record` (numpy arrays, mappings of them, and values that JSON knows) to the HDF5 file `path`.

    The file grows under a temporary name in the same folder and is then renamed, so that a process killed on the way
    never leaves half a file under the name `path`.
    """
    _write(path, lambda file: _put(file, record))


def write_records(
    path: str | os.PathLike[str], records: Mapping[str, Mapping[str, Any]], about: Mapping[str, Any] | None = None
) -> None:
    """Write records by name to one HDF5 file, a group each, and `about` (values that JSON knows); whole or not at all."""

    def put_all(file: h5py.File) -> None:
        for k, record in enumerate(records.values()):
            _put(file.create_group(f"{k:04d}"), record)
        _put(file.create_group("about"), {"names": list(records), "about": about or {}})

    _write(path, put_all)


def read_record(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Record written by `write_record`.

    Raises:
        FileNotFoundError: there is no such file.
        CorruptCache: it is damaged, edited or of something else.
    """
    return _read(path, read_group)


def read_records(path: str | os.PathLike[str]) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
    """Records by name, and `about`, as given to `write_records`; raises as `read_record`, also where a record is missing."""

    def take_all(file: h5py.File) -> tuple[dict[str, dict[str, Any]], dict[str, Any]]:
        about = read_group(file["about"])["about"]
        return {name: read_group(group) for name, group in groups_of(file).items()}, about

    return _read(path, take_all)


def read_arrays(path: str | os.PathLike[str], names: Sequence[str]) -> dict[str, list[NDArray[Any]]]:
    """Some arrays of each record by its name; raises as `read_record`."""

    def take(file: h5py.File) -> dict[str, list[NDArray[Any]]]:
        return {record: [group[name][()] for name in names] for record, group in groups_of(file).items()}

    found: dict[str, list[NDArray[Any]]] = _read(path, take)
    return found


def read_group(group: h5py.Group) -> dict[str, Any]:
    """The record in a group of an open file."""
    arrays: dict[str, Any] = {}
    group.visititems(lambda name, item: arrays.update({name: np.asarray(item[()])}) if isinstance(item, h5py.Dataset) else None)
    record: dict[str, Any] = json.loads(str(group.attrs["values"]))
    for name in record.pop(KEYS):
        top, _, below = name.partition("/")
        record.setdefault(top, {})[below] = arrays.pop(name)
    return {**record, **arrays}


def values_of(group: h5py.Group) -> dict[str, Any]:
    """What of a record is no array, and of mappings of arrays the keys; nothing else is read."""
    values: dict[str, Any] = json.loads(str(group.attrs["values"]))
    for name in values.pop(KEYS):
        top, _, key = name.partition("/")
        values.setdefault(top, []).append(key)
    return values


def groups_of(file: h5py.File) -> dict[str, h5py.Group]:
    """The groups of records by name, of an open file of `write_records`."""
    return {name: file[f"{k:04d}"] for k, name in enumerate(values_of(file["about"])["names"])}


def _write(path: str | os.PathLike[str], put: Callable[[h5py.File], None]) -> None:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = io.BytesIO()  # HDF5 itself ends the process on a full disk
    with h5py.File(whole, "w", libver="v110") as file:
        put(file)
    write_whole(path, sealed(whole.getvalue()))


def sealed(content: bytes) -> bytes:
    """The content with its checksum behind it, which HDF5 does not look at."""
    return content + SEAL + hashlib.sha256(content).hexdigest().encode()


def require_intact(path: Path) -> None:
    """Raise a CorruptCache unless a file ends with the checksum of what is before."""
    with open(path, "rb") as file:
        length = max(os.fstat(file.fileno()).st_size - len(SEAL) - 64, 0)
        digest = hashlib.sha256()
        for start in range(0, length, 2**20):
            digest.update(file.read(min(2**20, length - start)))
        if file.read() != SEAL + digest.hexdigest().encode():
            raise CorruptCache(
                f"`path` must be an intact file of references, got {path}, which is cut, damaged or of something else: delete "
                "it, and compute it again"
            )


def _read(path: str | os.PathLike[str], take: Callable[[h5py.File], Any]) -> Any:
    path = Path(path)
    if not path.exists():
        raise FileNotFoundError(f"`path` must be a stored reference, got {path}: there is no such file")
    try:
        require_intact(path)
        with h5py.File(path, "r") as file:
            return take(file)
    except CorruptCache:
        raise
    except (OSError, KeyError, ValueError, RuntimeError, AttributeError, TypeError) as error:
        raise CorruptCache(f"`path` must be a stored reference, got {path}, which cannot be read: {error}") from error


def _put(group: h5py.Group, record: Mapping[str, Any]) -> None:
    arrays = _flat(record)
    kept = {name: value for name, value in record.items() if name not in _tops(arrays)}
    for name, array in arrays.items():
        packed = {"compression": "gzip", "shuffle": True} if array.size > 64 else {}
        group.create_dataset(name, data=array, **packed)
    group.attrs["values"] = json.dumps({**kept, KEYS: [name for name in arrays if "/" in name]}, sort_keys=True)


def _flat(record: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays by name, those of a mapping by name/key."""
    arrays = {name: value for name, value in record.items() if isinstance(value, np.ndarray)}
    for name, value in record.items():
        if isinstance(value, Mapping) and value and all(isinstance(one, np.ndarray) for one in value.values()):
            arrays.update({f"{name}/{key}": one for key, one in value.items()})
    return arrays


def _tops(arrays: Mapping[str, Any]) -> set[str]:
    return {name.partition("/")[0] for name in arrays}
