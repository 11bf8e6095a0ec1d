"""Suites of reference calculations: a suite is a list of `Point`s, one module each, its results in an HDF5 file beside it."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from cgdft.validation.campaigns.point import Point

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["about", "load", "names", "stored"]

HERE = Path(__file__).parent


def names() -> tuple[str, ...]:
    """Of the suites that come with the package."""
    return tuple(sorted(path.stem for path in HERE.glob("*.py") if path.stem != "__init__"))


def about(name: str) -> str:
    """What a suite holds, in one line."""
    return (import_module(f"{__name__}.{_known(name)}").__doc__ or "").strip().partition("\n")[0].rstrip(".")


def load(name: str) -> list[Point]:
    """The points of a suite that comes with the package; raises ValueError for another name."""
    found: list[Point] = import_module(f"{__name__}.{_known(name)}").suite
    return found


def stored(name: str) -> Path | None:
    """The file of results that comes with a suite, or None."""
    path = HERE / f"{_known(name)}.h5"
    return path if path.exists() else None


def from_file(path: Path) -> Sequence[object]:
    """The list `suite` of a user's Python file.

    Raises:
        ValueError: the file has none, or fails.
    """
    from cgdft.user_code import names_of

    found = names_of(path).get("suite")
    if not isinstance(found, list) or not found:
        raise ValueError(f"`SUITE` must be a Python file with a list named suite, got {path}, where suite is {found!r}")
    return found


def _known(name: str) -> str:
    if name not in names():
        raise ValueError(f"`suite` must be one of {', '.join(names())}, got {name!r}; cgdft reference takes files of one's own")
    return name
