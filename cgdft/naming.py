"""Names of things that stand beside each other."""

from __future__ import annotations

from collections.abc import Collection


def distinct(name: str, taken: Collection[str]) -> str:
    """The name, with a number where it is taken."""
    chosen, count = name, 2
    while chosen in taken:
        chosen, count = f"{name} {count}", count + 1
    return chosen
