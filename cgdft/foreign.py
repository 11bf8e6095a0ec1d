"""What is a user's own: it is looked at."""

from __future__ import annotations


def is_foreign(one: object) -> bool:
    """Whether the class of something is not the package's."""
    return not type(one).__module__.startswith("cgdft.")
