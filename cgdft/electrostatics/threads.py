"""Compiled loops in threads, in as many shares as there are of these."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise


def in_threads(run: Callable[[tuple[int, int]], None], shares: list[tuple[int, int]], threads: int) -> None:
    """`run` of each share, in threads; compiled loops let go of the interpreter's lock."""
    if threads == 1 or len(shares) == 1:
        for share in shares:
            run(share)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(run, shares))


def shares(n: int, threads: int) -> list[tuple[int, int]]:
    """Sites 0 to n in as many parts as there are threads."""
    ends = [n * t // threads for t in range(threads + 1)]
    return list(pairwise(ends))
