"""Figures of a training: losses and errors by epoch, and predictions against labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from cgdft.learning.data.units import SHOWN
from cgdft.learning.training.evaluation import Evaluation
from cgdft.writing import whole


def loss_figure(history: Sequence[Mapping[str, Any]]) -> Figure:
    """Losses of training and validation on the left, errors of validation on the right, by epoch."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    epochs = [row["epoch"] for row in history]
    for key, label in (("loss", "training"), ("validation_loss", "validation")):
        _line(left, epochs, [row.get(key, np.nan) for row in history], label)
    for name in [name for name in SHOWN if any(f"rmse_{name}" in row for row in history)]:
        _line(right, epochs, [row.get(f"rmse_{name}", np.nan) for row in history], f"{name} ({SHOWN[name][0]})")
    for axes, label in ((left, "loss"), (right, "RMSE of validation")):
        axes.set_xlabel("epoch")
        axes.set_ylabel(label)
        axes.set_yscale("log")
        for k in range(1, len(history)):
            if history[k]["way"] != history[k - 1]["way"]:
                axes.axvline(epochs[k] - 0.5, color="0.7", lw=0.8)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=7, frameon=False)
    return figure


def parity_figure(evaluation: Evaluation) -> Figure:
    """Prediction against label of every quantity that this process has seen; energies per atom less those of the free atoms."""
    names = [name for name, one in evaluation.errors.items() if one.labels]
    columns = min(4, max(1, len(names)))
    rows = max(1, -(-len(names) // columns))
    figure = Figure(figsize=(2.9 * columns, 2.9 * rows), layout="constrained")
    for k, name in enumerate(names):
        axes = figure.add_subplot(rows, columns, k + 1)
        unit, factor = SHOWN[name]
        label = torch.cat(evaluation.errors[name].labels) * factor
        found = label + torch.cat(evaluation.errors[name].wrong) * factor
        axes.plot(label.cpu().numpy(), found.cpu().numpy(), ".", ms=2, alpha=0.5, rasterized=True)
        low, high = float(label.min()), float(label.max())
        axes.plot([low, high], [low, high], color="0.3", lw=0.8)
        axes.set_title(f"{name}, RMSE {evaluation.errors[name].rmse * factor:.3g} {unit}", fontsize=7)
        axes.set_xlabel(f"reference ({unit})", fontsize=7)
        axes.set_ylabel("model", fontsize=7)
        axes.tick_params(labelsize=6)
    return figure


def save(figure: Figure, path: Path) -> None:
    """As a png, whole or not at all."""
    with whole(path) as file:
        FigureCanvasAgg(figure).print_png(file)


def _line(axes: Any, epochs: Sequence[int], values: Sequence[float], label: str) -> None:
    finite = np.where(np.isfinite(values), values, np.nan)
    axes.plot(epochs, np.where(finite > 0, finite, np.nan), lw=1.2, label=label)
