"""A user's Python file: what it defines, and what went wrong in it."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def names_of(path: Path) -> dict[str, Any]:
    """What a user's Python file defines, which may import its neighbours.

    Raises:
        FileNotFoundError: no such file.
        ValueError: whatever the code raises.
    """
    import runpy
    import sys

    if not path.is_file():
        raise FileNotFoundError(f"no file {str(path)!r}")
    folder = str(path.resolve().parent)
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        return runpy.run_path(str(path))
    except (Exception, SystemExit) as error:  # user code: whatever it raises
        raise ValueError(f"{path}: not readable as a Python file ({told(error, path)})") from error


def lines_in(error: BaseException, path: Path) -> list[int | None]:
    """Lines of a file on the way to an error."""
    import traceback

    return [one.lineno for one in traceback.extract_tb(error.__traceback__) if Path(one.filename).resolve() == path.resolve()]


def told(error: BaseException, path: Path) -> str:
    """An error in a user's code: its kind, its text, and the last line of the file on the way to it."""
    lines = lines_in(error, path)
    return f"{type(error).__name__}: {error}{f', line {lines[-1]}' if lines else ''}"
