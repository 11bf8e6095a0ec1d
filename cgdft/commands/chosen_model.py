"""The models that `--model` names: those of the package, a user's Python file, and files of trained ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdft import pretrained
from cgdft.citations import ModelRecord, model_record
from cgdft.user_code import names_of, told

if TYPE_CHECKING:
    from ase import Atoms
    from torch import Tensor

    from cgdft.model import Model
    from cgdft.structure import Structure
    from cgdft.validation.dft.reference import Reference
    from cgdft.validation.report.compare import ModelLike


class Choice:
    """A model by its name, by a Python file with a variable or a function `model`, or by a file of `cgdft train`.

    Nothing is imported before it is made. Trained models that come with the package have names as well.

    A model that needs charges p0 has the initial charges of the atoms, one that takes some has them if there are any; one that
    needs anything else is the example of its file.

    Raises:
        ValueError: no model of this name, or one that only Python can make.
        FileNotFoundError: no such file.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.trained = name.endswith(".safetensors") or name in pretrained.names()
        of_file = name.endswith((".py", ".safetensors"))
        if not (of_file or self.trained) and (Path(name).exists() or Path(name).suffix or "/" in name):
            what = "a folder" if Path(name).is_dir() else "another file" if Path(name).is_file() else "no file of this name"
            raise ValueError(
                f"`model` must be a name, a Python file or a .safetensors file of cgdft train, got {name!r}, {what}"
            )
        self.record: ModelRecord | None = None if of_file or self.trained else model_record(name, pretrained.names())
        if of_file and not Path(name).is_file():
            raise FileNotFoundError(f"no file {name!r}")

    @property
    def label(self) -> str:
        """What a table of many structures calls it."""
        return f"{self.record.maker if self.record else self.name}{' (example)' if self.illustrates else ''}"

    @property
    def takes_charges(self) -> bool:
        """Whether its charges are those of the atoms."""
        return self.record is not None and self.record.needs == ("p0",)

    @property
    def illustrates(self) -> bool:
        """Whether it has no parameters for general use."""
        return self.record is not None and bool(self.record.needs) and not self.takes_charges

    @property
    def note(self) -> str:
        """What to know of its parameters, in a line; nothing of a model that has its own."""
        if not self.illustrates:
            return ""
        what = (self._found.__doc__ or "").strip().partition("\n")[0]
        return f"there are no parameters of {self.name} for general use; these are illustrative: {what}"

    def check(self, atoms: Sequence[Atoms]) -> None:
        """Find before anything is computed what would be missing then.

        Raises:
            ValueError: atoms without the charges that the model needs; a file that cannot be run or has no model.
            TypeError: a file whose model is none.
        """
        if self.takes_charges:
            charges_of(atoms, self.name)
        else:
            _ = self._found

    def make(self, atoms: Sequence[Atoms], structure: Structure) -> Model:
        """The model for a structure or a batch, and the atoms it is of.

        Raises:
            ValueError: atoms without the charges that it needs; a function that fails.
            TypeError: a function that returns no model.
        """
        if self.takes_charges:
            made: Model = self._found(p0=charges_of(atoms, self.name))
        elif self.illustrates:
            made = self._found(structure)
            made = made.replace(name=f"{made.name} (example)")
        elif self.record is not None:
            takes = "p0" in signature(self._found).parameters and all(initial_charges(a) is not None for a in atoms)
            made = self._found(p0=charges_of(atoms, self.name)) if takes else self._found()
        else:
            made = self._of_file(structure)
        return made

    def for_all(self) -> Model:
        """The model, where it is the same for all structures.

        Raises:
            ValueError: one that is made for each structure.
        """
        from cgdft.model import Model

        if self.record is not None and not self.record.needs:
            made: Model = self._found()
            return made
        if self.record is None and isinstance(self._found, Model):
            return self._found
        raise ValueError(
            f"`model` must be the same for all structures, got {self.name}, which is made for each: let a file say model = "
            "cgdft.Model(...)"
        )

    def for_references(self, references: Mapping[str, Reference], given: Mapping[str, Atoms]) -> ModelLike:
        """The model, or what makes it for each reference, with the charges of the atoms given."""
        from cgdft.model import Model

        if self.record is not None and not self.record.needs:
            made: Model = self._found()
            return made
        if isinstance(self._found, Model):
            return self._found.replace(name=self.name) if self.trained else self._found
        atoms = {id(one): given[name] if name in given else one.atoms() for name, one in references.items()}

        def make(reference: Reference) -> Model:
            return self.make([atoms[id(reference)]], reference.structure())

        make.__name__ = self.label
        return make

    @cached_property
    def _found(self) -> Any:
        """The maker or the example of a named model, or what a file calls model."""
        if self.trained:
            from cgdft.learning import load

            return load(self.name)
        if self.record is None:
            return _run(Path(self.name))
        module = import_module(self.record.module)
        if not self.illustrates:
            return getattr(module, self.record.maker)
        if not hasattr(module, "example"):
            needs = ", ".join(self.record.needs)
            raise ValueError(f"`--model {self.name}` needs {needs}, which only Python can give: {self.record.maker}(...)")
        return module.example

    def _of_file(self, structure: Structure) -> Model:
        from cgdft.model import Model

        if isinstance(self._found, Model):
            return self._found
        try:
            made = self._found(structure)
        except (Exception, SystemExit) as error:  # user code: whatever it raises
            raise ValueError(f"{self.name}: model(structure) failed ({told(error, Path(self.name))})") from error
        if not isinstance(made, Model):
            raise TypeError(f"{self.name}: model(structure) must return a cgdft.Model, got {_kind(made)}")
        return made


def charges_of(atoms: Sequence[Atoms], name: str) -> Tensor:
    """The initial charges of all these atoms, (n_atoms,).

    Raises:
        ValueError: a structure without them, or no structure.
    """
    import numpy as np
    import torch

    charges = [initial_charges(a) for a in atoms]
    found = [q for q in charges if q is not None]
    if not found or len(found) < len(atoms):
        raise ValueError(
            f"`--model {name}` takes its charges from the file, got none for some structure; give initial charges "
            f"(in extended xyz: the column initial_charges)"
        )
    return torch.from_numpy(np.concatenate(found))


def initial_charges(atoms: Atoms) -> Any:
    """Charges that a file gives, an array (n_atoms,); None if it gives none."""
    return atoms.arrays.get("initial_charges", atoms.arrays.get("charges"))


def _run(path: Path) -> Model | Callable[[Structure], Model]:
    """The variable or function `model` of a file."""
    from cgdft.model import Model

    names = names_of(path)
    if "model" not in names:
        raise ValueError(f"{path} must define model, a cgdft.Model or a function structure -> cgdft.Model, got none")
    model: Model | Callable[[Structure], Model] = names["model"]
    if not isinstance(model, Model) and not callable(model):
        raise TypeError(f"{path}: model must be a cgdft.Model or a function structure -> cgdft.Model, got {_kind(model)}")
    if not (isinstance(model, Model) or _takes_one(model)):
        name = getattr(model, "__name__", "it")
        raise TypeError(
            f"{path}: model must be a cgdft.Model or a function structure -> cgdft.Model, got {name}, which does not take a "
            f"structure alone; write model = {name}(...) where that makes a model"
        )
    return model


def _takes_one(function: Callable[..., Any]) -> bool:
    """Whether a function can be called with one argument, as far as its signature says."""
    try:
        signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # no signature to be seen
        return True
    return True


def _kind(value: object) -> str:
    return f"{type(value).__name__} {value!r}".partition("\n")[0][:80]
