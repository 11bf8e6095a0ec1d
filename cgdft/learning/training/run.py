"""A whole training as a config states it: data read and checked, model made, trained and saved."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from cgdft.learning.data.atomic_energies import atomic_energies
from cgdft.learning.data.checks import check_set
from cgdft.learning.data.sets import FrameSet
from cgdft.learning.environment import Environment
from cgdft.learning.message_passing import MessagePassing
from cgdft.learning.training.architecture import build, code_of
from cgdft.learning.training.config import Config, Network
from cgdft.learning.training.distributed import World, world
from cgdft.learning.training.domain import ranges, surroundings
from cgdft.learning.training.evaluation import Evaluation
from cgdft.learning.training.output import told_of
from cgdft.learning.training.read_config import read_config
from cgdft.learning.training.saving import environment_of, restored, save
from cgdft.learning.training.trainer import Trained, Trainer
from cgdft.model import Model
from cgdft.units import angstrom
from cgdft.writing import alone

#: Frames over which neighbours are averaged, at most.
SAMPLE = 500


def train(config: Config | str | Path) -> Trained:
    """Train what a config or its file states; the best model is kept up to date as model.safetensors in its folder.

    Raises:
        ValueError: a config or data that make no sense.
        TrainingError, OSError: as `Trainer.run`.
    """
    stated = config if isinstance(config, Config) else read_config(config)
    with world(stated.device) as processes, ExitStack() as held:
        if processes.writes:
            with told_of(stated.output):
                held.enter_context(alone(stated.output))
        return _train(stated, processes)


def _train(config: Config, processes: World) -> Trained:
    data = config.data
    reading: dict[str, Any] = {name: getattr(data, name) for name in ("keys", "units", "definition", "charge")}
    frames = FrameSet.read(data.train, **reading)
    if data.validation == 0:
        validation = frames
    elif isinstance(data.validation, float):
        frames, validation = frames.split([1 - data.validation, data.validation], config.seed)
    else:
        validation = FrameSet.read(data.validation, **{**reading, "definition": None}).defined_as(frames.definition)

    torch.manual_seed(config.seed)
    model, atoms, began = _begin(config, frames)
    model.to(config.device)
    environment = environment_of(model)
    if processes.writes:
        weights = config.settings.weights
        named = weights if "weights" in config.model_fields_set else ()
        others = None if validation is frames else validation
        known: dict[str, Any] = {"elements": environment.elements, "atomic_energies": atoms, "fitted": _fitted(config)}
        for note in check_set(frames, others, **known, weights=weights, named=named):
            warnings.warn(note, stacklevel=3)
    seen = ranges(frames, environment.cutoff, began.get("ranges")) if processes.writes else {}

    def keep(best: Model, evaluation: Evaluation, epoch: int) -> None:
        provenance = {
            "config": config.model_dump(mode="json"),
            "data": {"train": frames.hash, "validation": validation.hash, "frames": [len(frames), len(validation)]},
            "definition": frames.definition,
            "seed": config.seed,
            "epoch": epoch,
            "validation": evaluation.to_dict(),
            **({"start": began["provenance"]} if began else {}),
        }
        path = config.output / "model.safetensors"
        save(best, path, architecture=config.architecture, atoms=atoms, ranges=seen, provenance=provenance)

    return Trainer(
        model,
        frames,
        validation,
        config.settings,
        config.output,
        origin={
            "network": (config.environment or Network()).model_dump(mode="json"),
            "atoms": atoms,
            "code": code_of(config.architecture),
            "start": began.get("hash", ""),
        },
        world=processes,
        on_best=keep,
    ).run()


def _fitted(config: Config) -> bool:
    """Whether E0 are fitted to the energies."""
    return config.atoms == "fit" or (config.atoms is None and config.start is None)


def _begin(config: Config, frames: FrameSet) -> tuple[Model, dict[str, float], dict[str, Any]]:
    """The model, E0 of its elements, and what the file says that it begins with."""
    given = "fit" if _fitted(config) else config.atoms
    atoms: dict[str, float] = {}
    if isinstance(given, str):
        atoms = atomic_energies(frames, method=None if given == "fit" else given)
    elif given is not None:
        atoms = atomic_energies(frames, given)
    if config.start is not None:
        own = config.architecture if config.architecture.endswith(".py") else None
        model, facts = restored(config.start, own, atoms=atoms)
        if own is None and facts["architecture"] != config.architecture:
            raise ValueError(
                f"`architecture` must be that of {config.start}, {facts['architecture']}, got {config.architecture}"
            )
        return model, facts["atoms"], facts

    environment = _environment(config.environment or Network(), frames)
    try:
        return build(config.architecture, environment, atoms), atoms, {}
    except ValueError as error:
        if environment.irreps.lmax:
            raise
        raise ValueError(f"`environment.lmax` must be at least 1 for {config.architecture}, got 0: {error}") from error


def _environment(network: Network, frames: FrameSet) -> Environment:
    dtype = getattr(torch, network.dtype) if network.dtype is not None else None
    if network.mace is not None:
        from cgdft.learning.mace import MACEFeatures

        return MACEFeatures(network.mace, network.trainable, dtype)
    cutoff = network.cutoff * angstrom
    counts = [surroundings(frames[k].structure, cutoff)[0].double() for k in range(min(len(frames), SAMPLE))]
    neighbours = torch.cat(counts)
    if not neighbours.any():
        told = f"got {network.cutoff:g}, within which no atom of the frames has a neighbour"
        warnings.warn(f"`environment.cutoff` must be in angstrom, {told}", stacklevel=5)
    return MessagePassing(
        frames.elements,
        network.channels,
        network.lmax,
        network.layers,
        cutoff,
        max(1.0, float(neighbours.mean())),
        dtype or torch.float32,
    )
