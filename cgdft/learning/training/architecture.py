"""The model of an architecture: one of the package's by its name, or a user's own by its Python file."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from cgdft.learning.architectures import make
from cgdft.learning.environment import Environment
from cgdft.model import Model
from cgdft.user_code import names_of, neighbours, told


def build(architecture: str, environment: Environment, atoms: Mapping[str, float]) -> Model:
    """The model on an environment; `atoms` are E0, hartree.

    Raises:
        ValueError: no architecture of this name, or a file without a function model(environment, atoms) that gives a model of
            this environment.
    """
    if not architecture.endswith(".py"):
        return make(architecture, environment, dict(atoms))
    path = Path(architecture)
    if not path.is_file():
        raise ValueError(f"`architecture` must be a name or a file, got {architecture!r}: there is no such file")
    defined = names_of(path)
    try:
        made = defined["model"](environment, dict(atoms))
    except (Exception, SystemExit) as error:  # user code: whatever it raises
        raise ValueError(
            f"{path} must define model(environment, atoms), got {told(error, path)}; see the files in "
            f"cgdft/learning/architectures"
        ) from error
    if not isinstance(made, Model):
        raise ValueError(f"{path}: model(environment, atoms) must return a cgdft.Model, got {type(made).__name__}")
    others = [type(one).__name__ for one in made.modules() if isinstance(one, Environment) and one.origin is not environment]
    if others:
        raise ValueError(
            f"{path}: model(environment, atoms) must be built on the environment that it is given, got {others[0]}, which no "
            "file of a model could bring back; train on an environment of your own by cgdft.learning.Trainer"
        )
    return made


def code_of(architecture: str) -> str:
    """sha256 of the file of a user's own architecture, with its neighbours that it imports; "" for one of the package."""
    path = Path(architecture)
    if not (architecture.endswith(".py") and path.is_file()):
        return ""
    return hashlib.sha256(b"".join(one.read_bytes() for one in (path, *neighbours(path)))).hexdigest()
