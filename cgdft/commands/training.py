"""The commands `cgdft train` and `cgdft evaluate`. What is heavy to import is imported inside of them."""

from __future__ import annotations

import json as jsonlib
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from cgdft.commands.terminal import EXPECTED, OF_LIBRARIES, complain


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="Data, architecture and settings, in YAML.")],
) -> None:
    """Train a functional on energies, forces, densities and responses. Started again, it goes on where it stopped.

    Several processes: torchrun --nproc-per-node 2 -m cgdft train CONFIG.yaml
    """
    from cgdft.learning.training.read_config import read_config
    from cgdft.learning.training.run import train as run
    from cgdft.user_code import lines_in, told

    stated = read_config(config)
    with _warnings_in_a_line():
        try:
            trained = run(stated)
        except KeyboardInterrupt:
            complain("the same command goes on after the last whole epoch")
            raise
        except Exception as error:  # a term or head of a user's own: whatever it raises
            own = stated.architecture.endswith(".py")
            if not own or (isinstance(error, EXPECTED) and not lines_in(error, Path(stated.architecture))):
                raise
            raise ValueError(f"{stated.architecture}: {told(error, Path(stated.architecture))}") from error
    if not _speaks():
        return
    failed, validated = (sum(row[name] for row in trained.history) for name in ("failed", "validation_failed"))
    path = stated.output / "model.safetensors"
    solves = f"{failed} failed solves, {validated} in validation"
    print(f"{path}: best of {len(trained.history)} epochs is {trained.epoch}; {solves}")
    print(trained.evaluation.table())


def evaluate(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="A .safetensors file of cgdft train, a model's name, or a Python file.")
    ],
    data: Annotated[list[Path], typer.Argument(metavar="DATA...", help="Files of structures with labels.")],
    architecture: Annotated[
        str | None, typer.Option(metavar="FILE.py", help="Of a model of an architecture of one's own.")
    ] = None,
    key: Annotated[
        list[str] | None, typer.Option(metavar="LABEL=NAME", help="Of a label in the files: energy=REF_energy; repeated.")
    ] = None,
    unit: Annotated[
        list[str] | None, typer.Option(metavar="LABEL=UNIT", help="Of a label in the files: energy=hartree; repeated.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.", show_default=False)] = False,
) -> None:
    """Print the errors of a model by quantity. Of a trained one keys and units are those of its training where none are given.

    Definition and charge are those of its training.
    """
    from cgdft.commands.chosen_model import Choice
    from cgdft.learning.training.evaluate_files import evaluate_files

    choice = Choice(model)
    with _warnings_in_a_line():
        chosen = model if choice.trained else choice.for_all()
        found = evaluate_files(chosen, data, architecture, keys=_pairs("key", key), units=_pairs("unit", unit))
    for name, why in found.failed.items():
        complain(f"frame {name} left out: {why}")
    print(jsonlib.dumps(found.to_dict(), indent=2) if json else found.table())


def _pairs(option: str, given: list[str] | None) -> dict[str, str] | None:
    """LABEL=VALUE of each; None where none are given."""
    if not given:
        return None
    split = [one.partition("=") for one in given]
    wrong = [one for one, (label, _, value) in zip(given, split, strict=True) if not (label and value)]
    if wrong:
        raise ValueError(f"`--{option}` must be LABEL=VALUE, got {wrong[0]!r}")
    return {label: value for label, _, value in split}


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("always", UserWarning)
        warnings.filterwarnings("ignore", message=OF_LIBRARIES)
        warnings.showwarning = lambda message, *_: complain(str(message)) if _speaks() else None
        yield


def _speaks() -> bool:
    """Whether this process is the one of several that prints."""
    return os.environ.get("RANK", "0") == "0"
