"""Files of atoms whose end is missing, which every reader believes: 1.25 may have been 1.2512."""

from __future__ import annotations

import os
from pathlib import Path

#: Of the end that is looked at, bytes.
TAIL = 4096


def note_on_end(path: str | Path) -> str | None:
    """A warning where the last line is shorter than the two before it, which are alike, and has no end; else None."""
    with open(path, "rb") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - TAIL))
        *before, last = (line.rstrip(b"\r") for line in file.read().split(b"\n"))
    alike = len(before) > 2 and len(before[-1]) == len(before[-2])
    if not (alike and 0 < len(last) < len(before[-1])):
        return None
    return f"{path} may have been cut: its last line is shorter than those before and has no end; end it if it is whole"
