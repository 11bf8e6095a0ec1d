"""What is a user's own: it is looked at."""

from __future__ import annotations


def is_foreign(one: object) -> bool:
    """Whether the class of something, or the function that was made a term, is not the package's."""
    made_of = getattr(one, "_function", type(one))
    return not made_of.__module__.startswith("cgdft.")
