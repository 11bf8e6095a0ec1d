"""One architecture on one published set: the network, the budget and the seeds are the same for all."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from cgdft.learning.architectures import make
from cgdft.learning.training.config import Settings
from cgdft.learning.training.trainer import Trainer
from cgdft.model import Model
from cgdft.validation.learned import free_atoms, network
from cgdft.validation.published.published_set import D, PublishedSet


def trained(one: PublishedSet[D], parts: Sequence[D], architecture: str, epochs: int, seed: int = 0) -> dict[str, Any]:
    """What is measured of an architecture trained on each part of a set, and what the training took, seconds."""
    found: dict[str, Any] = {"errors": {}, "curves": {}, "epochs": epochs, "seed": seed}
    found |= dict.fromkeys(("failed", "train", "test", "seconds"), 0)
    for part in parts:
        start = time.perf_counter()
        measured = one.measured(_model(one, part, architecture, epochs, seed), architecture, part)
        found["errors"] |= measured["errors"]
        found["curves"] |= measured.get("curves", {})
        for name, value in (
            ("failed", measured["failed"]),
            ("train", len(part.train)),
            ("test", len(part.test)),
            ("seconds", round(time.perf_counter() - start)),
        ):
            found[name] += value
    return found


def _model(one: PublishedSet[D], part: D, architecture: str, epochs: int, seed: int) -> Model:
    atoms = free_atoms([*part.train, *part.validation])
    environment = network(part.train, list(atoms), seed)
    model = make(architecture, environment, atoms)
    first = epochs // 10 if one.directly else 0
    settings = Settings(
        weights=one.weights(architecture),
        schedule={"direct": first, "implicit": epochs - first},
        batch_size=one.batch_size,
        learning_rate=1e-2,
        patience=epochs,
        seed=seed,
    )
    return Trainer(model, part.train, part.validation, settings).run().model
