"""Errors of a model on files."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cgdft.learning.architectures import learnt_from
from cgdft.learning.data.checks import UNREFERENCED, check_set
from cgdft.learning.data.sets import FrameSet
from cgdft.learning.environment import Environment
from cgdft.learning.training.batches import batches
from cgdft.learning.training.charge_states import check_spins
from cgdft.learning.training.config import WEIGHTS
from cgdft.learning.training.distributed import World
from cgdft.learning.training.domain import OutsideTraining
from cgdft.learning.training.evaluation import Evaluation, evaluate
from cgdft.learning.training.loss import EXTRA
from cgdft.learning.training.prediction import reasons
from cgdft.learning.training.saving import environment_of, load, metadata
from cgdft.model import Model

#: Frames solved together; how far neighbours are sought for models without surroundings, bohr.
BATCH, SHORT = 16, 1.0
#: Labels that tell nothing of charges.
WITHOUT_CHARGES = frozenset(("energy", "forces", "stress"))


def evaluate_files(
    model: Model | str | Path,
    paths: Sequence[str | Path],
    architecture: str | None = None,
    environment: Environment | None = None,
    keys: Mapping[str, str] | None = None,
    units: Mapping[str, str] | None = None,
) -> Evaluation:
    """Errors of a model on frames of files; of a saved one read with the keys, units, definition and charge of its training.

    Frames with elements that a saved model does not know are left out with a warning; surroundings that it does not know get
    one.

    Args:
        model: any model; or the file or the name of a saved one, see `load`.
        architecture: the Python file of a saved model of a user's own.
        environment: see `load`.
        keys, units: see `FrameSet.read`; those of the training where none is given of a label.

    Raises:
        ValueError, FileNotFoundError: as `load`, `FrameSet.read` and `check_set`, units that look wrong among them; no frame
            whose elements it knows, or none that it has a minimum for, or no label.
    """
    facts: dict[str, Any] = {"provenance": {}, "atoms": None} if isinstance(model, Model) else metadata(model)
    made = model if isinstance(model, Model) else load(model, architecture, environment)
    data = facts["provenance"].get("config", {}).get("data", {})
    trained: dict[str, str] = data.get("keys") or {}
    frames = FrameSet.read(
        [str(path) for path in paths],
        keys={**trained, **(keys or {})},
        units={**(data.get("units") or {}), **(units or {})},
        charge=data.get("charge"),
        partial=trained.keys() - (keys or {}).keys(),
    )
    frames, cutoff = frames.defined_as(facts["provenance"].get("definition")), SHORT
    if not isinstance(model, Model):
        known, cutoff = environment_of(made).elements, environment_of(made).cutoff
        frames = _of_elements(frames, known)
    for note in check_set(frames, atomic_energies=facts["atoms"]):
        if note != UNREFERENCED:  # nothing is learnt here
            warnings.warn(note, stacklevel=2)
    check_spins(made, frames)
    found = evaluate(made, batches(frames, BATCH, cutoff, World(), shuffle=False))
    if found.left_out == found.frames:
        raise ValueError(
            f"`model` must have a minimum for a frame at least, got none for all {len(frames)}: {reasons(found.failed)}"
        )
    if not found.errors:
        files = ", ".join(map(str, paths))
        raise ValueError(f"`data` must have labels, got none in {files}: say their names by `keys` (--key LABEL=NAME)")
    shown = found.errors.keys() - WITHOUT_CHARGES
    if shown and facts["provenance"].get("config") and not _told(facts["provenance"]["config"]) - WITHOUT_CHARGES:
        what = ", ".join(sorted(shown))
        warnings.warn(
            f"charges are latent or none, as no label of the training was of them; compared all the same: {what}", stacklevel=2
        )
    return found


def _told(config: Mapping[str, Any]) -> set[str]:
    """From what a model was learnt, by the config of its training."""
    weights = {name: weight for name, weight in config["weights"].items() if weight}
    own = learnt_from(config["architecture"]) if weights == WEIGHTS else ()
    return {*(own or weights)} - EXTRA.keys()


def _of_elements(frames: FrameSet, elements: Sequence[str]) -> FrameSet:
    unknown = set(frames.elements) - set(elements)
    if not unknown:
        return frames
    known = [k for k in range(len(frames)) if not unknown & set(frames[k].structure.symbols)]
    told = f"{', '.join(sorted(unknown))}, which the model does not know (it knows {', '.join(elements)})"
    if not known:
        raise ValueError(f"`data` must have a frame without {told}, got none")
    warnings.warn(f"{len(frames) - len(known)} of {len(frames)} frames left out: they have {told}", OutsideTraining, 3)
    return frames.subset(known)
