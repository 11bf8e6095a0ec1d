"""Errors of a saved model on files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

from cgdft.learning.data.checks import check_set
from cgdft.learning.data.sets import FrameSet
from cgdft.learning.environment import Environment
from cgdft.learning.training.batches import batches
from cgdft.learning.training.distributed import World
from cgdft.learning.training.domain import OutsideTraining
from cgdft.learning.training.evaluation import Evaluation, evaluate
from cgdft.learning.training.saving import environment_of, load, metadata

#: Frames solved together.
BATCH = 16


def evaluate_files(
    model: str | Path,
    paths: Sequence[str | Path],
    architecture: str | None = None,
    environment: Environment | None = None,
    keys: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Evaluation:
    """Errors of a saved model on the frames of files, read with the keys, units, definition and charge of its training.

    Frames with elements that it does not know are left out with a warning; surroundings that it does not know get one.

    Args:
        model: a file or a name, see `load`.
        architecture: the Python file of a model of a user's own.
        environment: see `load`.
        keys, units: see `FrameSet.read`; those of the training where none is given of a label.

    Raises:
        ValueError, FileNotFoundError: as `load`, `FrameSet.read` and `check_set`, units that look wrong among them; no frame
            whose elements it knows, or no label.
    """
    facts = metadata(model)
    loaded = load(model, architecture, environment)
    data = facts["provenance"].get("config", {}).get("data", {})
    trained: dict[str, str] = data.get("keys") or {}
    frames = FrameSet.read(
        [str(path) for path in paths],
        keys={**trained, **(keys or {})},
        units={**(data.get("units") or {}), **(units or {})},
        charge=data.get("charge"),
        partial=trained.keys() - (keys or {}).keys(),
    )
    frames = frames.defined_as(facts["provenance"].get("definition"))
    environment = environment_of(loaded)
    unknown = set(frames.elements) - set(environment.elements)
    if unknown:
        known = [k for k in range(len(frames)) if not unknown & set(frames[k].structure.symbols)]
        told = f"{', '.join(sorted(unknown))}, which the model does not know (it knows {', '.join(environment.elements)})"
        if not known:
            raise ValueError(f"`data` must have a frame without {told}, got none")
        warnings.warn(f"{len(frames) - len(known)} of {len(frames)} frames left out: they have {told}", OutsideTraining, 2)
        frames = frames.subset(known)
    for note in check_set(frames, atomic_energies=facts["atoms"]):
        warnings.warn(note, stacklevel=2)
    found = evaluate(loaded, batches(frames, BATCH, environment.cutoff, World(), shuffle=False))
    if not found.errors and not found.failed:
        raise ValueError(
            f"`data` must have labels, got none in {', '.join(map(str, paths))}: say their names by `keys` (--key LABEL=NAME)"
        )
    return found
