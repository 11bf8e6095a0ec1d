"""A whole training as a config states it: data read and checked, model made, trained and saved."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch

from cgdft.learning.data.atomic_energies import atomic_energies
from cgdft.learning.data.checks import check_set
from cgdft.learning.data.sets import FrameSet
from cgdft.learning.message_passing import MessagePassing
from cgdft.learning.training.architecture import build
from cgdft.learning.training.config import Config
from cgdft.learning.training.distributed import World, world
from cgdft.learning.training.domain import ranges, surroundings
from cgdft.learning.training.evaluation import Evaluation
from cgdft.learning.training.read_config import read_config
from cgdft.learning.training.saving import save
from cgdft.learning.training.trainer import Trained, Trainer
from cgdft.model import Model
from cgdft.units import angstrom

#: Frames over which neighbours are averaged, at most.
SAMPLE = 500


def train(config: Config | str | Path) -> Trained:
    """Train what a config or its file states; the best model is kept up to date as model.safetensors in its folder.

    Raises:
        ValueError: a config or data that make no sense.
        TrainingError, OSError: as `Trainer.run`.
    """
    stated = config if isinstance(config, Config) else read_config(config)
    with world() as processes:
        return _train(stated, processes)


def _train(config: Config, processes: World) -> Trained:
    data = config.data
    reading: dict[str, Any] = {name: getattr(data, name) for name in ("keys", "units", "definition", "charge")}
    frames = FrameSet.read(data.train, **reading)
    if isinstance(data.validation, float):
        frames, validation = frames.split([1 - data.validation, data.validation], config.seed)
    else:
        validation = FrameSet.read(data.validation, **reading)

    given = config.atoms
    if isinstance(given, str):
        atoms = atomic_energies(frames, method=None if given == "fit" else given)
    else:
        atoms = atomic_energies(frames, given)
    if processes.writes:
        for note in check_set(frames, validation, elements=frames.elements, atomic_energies=atoms):
            warnings.warn(note, stacklevel=3)

    network = config.environment
    cutoff = network.cutoff * angstrom
    near = [surroundings(frames[k].structure, cutoff)[0].double() for k in range(min(len(frames), SAMPLE))]
    torch.manual_seed(config.seed)
    environment = MessagePassing(
        frames.elements,
        network.channels,
        network.lmax,
        network.layers,
        cutoff,
        max(1.0, float(torch.cat(near).mean())),
        getattr(torch, network.dtype),
    )
    model = build(config.architecture, environment, atoms)
    seen = ranges(frames, cutoff) if processes.writes else {}

    def keep(best: Model, evaluation: Evaluation, epoch: int) -> None:
        provenance = {
            "config": config.model_dump(mode="json"),
            "data": {"train": frames.hash, "validation": validation.hash, "frames": [len(frames), len(validation)]},
            "definition": frames.definition,
            "seed": config.seed,
            "epoch": epoch,
            "validation": evaluation.to_dict(),
        }
        path = config.output / "model.safetensors"
        save(best, path, architecture=config.architecture, atoms=atoms, ranges=seen, provenance=provenance)

    trainer = Trainer(model, environment, frames, validation, config.settings, config.output, world=processes, on_best=keep)
    return trainer.run()
