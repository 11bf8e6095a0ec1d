"""Trainings that differ by their seed alone: their mean, where they reach, and who is level with the best of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes


def cell(values: Sequence[float]) -> str:
    """The mean, and from where to where the seeds go."""
    if not values:
        return ""
    mean = f"{sum(values) / len(values):.3g}"
    return mean if len(values) == 1 else f"{mean} ({min(values):.3g} to {max(values):.3g})"


def best(errors: Mapping[str, Sequence[float]]) -> list[str]:
    """Which has the smallest error on average, and then those that are level with it.

    Level are those whose seeds reach into its range; where one of both has a single seed, those within a third of it.

    Args:
        errors: of each, one per seed; those that have none are passed over.
    """
    found = {name: values for name, values in errors.items() if len(values)}
    if not found:
        return []
    first = min(found, key=lambda name: np.mean(found[name]))
    return [first, *(name for name, values in found.items() if name != first and _level(values, found[first]))]


def bars(axes: Axes, errors: Mapping[str, Sequence[float]]) -> None:
    """Means as bars from the top down, of those that have any; a stroke for each seed."""
    found = {name: values for name, values in errors.items() if len(values)}
    axes.barh(list(found), [sum(values) / len(values) for values in found.values()], color="tab:blue")
    for name, values in found.items():
        axes.plot(values, [name] * len(values), "k|")
    axes.invert_yaxis()
    axes.tick_params(labelsize=8)


def _level(one: Sequence[float], lowest: Sequence[float]) -> bool:
    single = 1 in (len(one), len(lowest))
    return bool(np.mean(one) < 4 / 3 * np.mean(lowest)) if single else min(one) <= max(lowest)
