"""Names of things that stand beside each other, and texts in messages that stay short."""

from __future__ import annotations

from collections.abc import Collection, Sequence


def distinct(name: str, taken: Collection[str]) -> str:
    """The name, with a number where it is taken."""
    chosen, count = name, 2
    while chosen in taken:
        chosen, count = f"{name} {count}", count + 1
    return chosen


def few(names: Sequence[str]) -> str:
    """The first three names, and how many more there are."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "") or "none"


def shortened(text: str) -> str:
    """At most 60 characters of a text."""
    return text if len(text) <= 60 else f"{text[:57]}..."
