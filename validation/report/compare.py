"""Models beside density-functional theory: what each gets right, molecule by molecule, in numbers."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Union

import numpy as np
from ase.formula import Formula

from cgdft.naming import distinct
from cgdft.validation.dft.reference import Reference
from cgdft.validation.report.columns import COLUMNS, LEGEND, Column
from cgdft.validation.report.score import Score, labels, scale, score_of

if TYPE_CHECKING:
    from rich.console import Group

    from cgdft.model import Model

#: A difference of total charges, e, that is told.
OFF = 1e-3
#: A model, or what makes one for a reference (for example of its charges).
ModelLike = Union["Model", "Callable[[Reference], Model]"]


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """The scores of some models on some molecules; `print` shows them as a table.

    Args:
        references: by the name of the molecule.
        scores: molecule by molecule, models in one order.
        failed: molecules that have no reference, or none by this definition, with the reason.
        suite: its name, if it has one.
        definition: of the multipoles compared with; None for the first of each reference.
    """

    references: Mapping[str, Reference]
    scores: tuple[Score, ...]
    failed: Mapping[str, str] = field(default_factory=dict)
    suite: str = ""
    definition: str | None = None

    def label(self) -> str:
        """What the charges compared with are called."""
        names = {self.definition or next(iter(reference.moments)) for reference in self.references.values()}
        return ", ".join(sorted(names))

    @property
    def models(self) -> list[str]:
        """Names of the models, in order."""
        return list(dict.fromkeys(score.model for score in self.scores))

    def of_molecule(self, name: str) -> list[Score]:
        """The scores of all models on one molecule."""
        return [score for score in self.scores if score.molecule == name]

    def mean(self, model: str) -> tuple[Score, int]:
        """The mean of each number over the molecules where there is one, and how many the model was solved for."""
        solved = [score for score in self.scores if score.model == model and not score.reason]
        columns = {name: [score.numbers()[name] for score in solved] for name in Score(model, "mean").numbers()}
        known = {name: [value for value in values if value is not None] for name, values in columns.items()}
        means: dict[str, Any] = {name: float(np.mean(values)) if values else None for name, values in known.items()}
        return replace(Score(model, "mean"), **means), len(solved)

    def partial(self) -> str:
        """Which means are over fewer molecules than there are, for want of references or answers; "" if none is."""
        known = {
            one.title: len({score.molecule for score in self.scores if getattr(score, one.key) is not None})
            for one in COLUMNS
            if one.error
        }
        fewer = [f"{title} over {number}" for title, number in known.items() if 0 < number < len(self.references)]
        return f"Means of {', '.join(fewer)} of {len(self.references)}." if fewer else ""

    def worst(self, model: str, column: Column) -> Score | None:
        """Where the model's error in this column is largest."""
        known = [score for score in self.scores if score.model == model and column.merit(score) is not None]
        return max(known, key=lambda score: abs(column.merit(score) or 0.0), default=None)

    def table(self) -> Group:
        """A rich table with units in its head, and below it a legend and what failed."""
        from rich.console import Group
        from rich.constrain import Constrain
        from rich.table import Table
        from rich.text import Text

        shown = [(column, column.short) for column in COLUMNS if column.short is not None]
        table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
        table.add_column("", min_width=15)
        for column, head in shown:
            unit, _, below = column.unit.partition("/")
            lines = (*head, unit, below and f"/{below}")
            table.add_column("\n".join(lines), justify="right", no_wrap=True, min_width=max(map(len, lines)))

        def cells(score: Score, values: bool = True) -> list[str]:
            return [column.text(score) if values or column.error else "" for column, _ in shown]

        for molecule, reference in self.references.items():
            table.add_row(Text(molecule, style="bold"))
            table.add_row("  reference", *cells(scale(molecule, reference, self.definition)), style="dim")
            for score in self.of_molecule(molecule):
                table.add_row(Text(f"  {score.model}"), *(["failed"] if score.reason else cells(score)))
            table.add_row()
        if len(self.references) > 1:
            table.add_row(Text(f"mean of {len(self.references)}", style="bold"))
            for model in self.models:
                mean, count = self.mean(model)
                note = "" if count == len(self.references) else f" (of {count})"
                table.add_row(Text(f"  {model}{note}"), *cells(mean, values=False))
        reasons = [f"{score.model} on {score.molecule} failed: {score.reason}" for score in self.scores if score.reason]
        reasons += [f"{name} has no reference: {reason}" for name, reason in self.failed.items()]
        reasons += [
            f"{score.model} on {score.molecule} has a charge of {got:.3g} e in place of {asked:d} e"
            for score in self.scores
            if score.solution is not None
            and abs((got := float(score.solution.total_charge[0])) - (asked := self.references[score.molecule].charge)) > OFF
        ]
        methods = ", ".join(sorted({reference.method for reference in self.references.values()}))
        told = f"Reference: {methods}, {self.label()} charges. {LEGEND}" if methods else LEGEND
        partial = [text] if len(self.references) > 1 and (text := self.partial()) else []
        return Group(table, Constrain(Text("\n".join([told, *partial, *reasons])), 80))

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=100, color_system=None, force_terminal=False, legacy_windows=False)
        with console.capture() as captured:
            console.print(self.table())
        return "\n".join(line.rstrip() for line in captured.get().splitlines())

    def __repr__(self) -> str:
        return f"Comparison({', '.join(self.models)}; {', '.join(self.references)})"

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers for JSON, in Hartree atomic units; potentials and polarizability errors as fractions."""
        return {
            "units": "Hartree atomic units (e, bohr, hartree); relative errors are fractions of one",
            "suite": self.suite,
            "definition": self.label(),
            "potential": "V_ref is that without superposed neutral atoms; in full_potential_* they are included",
            "molecules": {
                name: {
                    "symbols": _symbols(reference),
                    "positions": reference.positions.tolist(),
                    "charge": reference.charge,
                    "spin": reference.spin,
                    "field": reference.field.tolist(),
                    "method": reference.method,
                    "provenance": reference.provenance,
                    "reference": {
                        **scale(name, reference, self.definition).numbers(),
                        "charges": {name: moments[:, 0].tolist() for name, moments in reference.moments.items()},
                        "dipole": None if reference.dipole is None else reference.dipole.tolist(),
                        "response_of": None if reference.susceptibility is None else next(iter(reference.moments)),
                    },
                    "models": {score.model: score.to_dict() for score in self.of_molecule(name)},
                }
                for name, reference in self.references.items()
            },
            "means": {
                model: {**mean.numbers(), "molecules": count} for model in self.models for mean, count in [self.mean(model)]
            },
            "partial": self.partial(),
            "failed": dict(self.failed),
        }

    def html(self, path: str | os.PathLike[str]) -> Path:
        """Write a report with figures: one file that needs nothing else."""
        from cgdft.validation.report.paper import write_report

        return write_report(self, path)


def compare(
    models: ModelLike | Sequence[ModelLike],
    reference: Reference | Sequence[Reference] | Mapping[str, Reference],
    definition: str | None = None,
) -> Comparison:
    """Charges, dipoles, moments, potential and polarizability of models against references from DFT.

    The potential compared with is that of the difference density, `potential_difference`: rho is the deviation from
    superposed neutral atoms, and so is what a model can reproduce. The literature's figure of merit takes the potential
    with neutral atoms in it: the same beyond two van der Waals radii, not nearer to a diffuse atom such as Li; it is in
    `Score.full_potential_inner` and `to_dict()`. A reference in a uniform field is compared with the model in that
    field. The reference's own mu and hardness would need its ions and are left out.

    A model that fails on a molecule has its reason in that `Score`, and a reference without the definition in
    `Comparison.failed`; the others are compared.

    Args:
        models: one or several; instead of a model also a callable reference -> model.
        reference: one or several, or a mapping from names to references; default names are formulas.
        definition: name of the multipoles to compare with, a key of `Reference.moments`; default the first of each reference.

    Raises:
        ValueError: nothing to compare.
        TypeError: what is neither model nor reference.
    """
    from cgdft.model import Model

    makers = [models] if isinstance(models, Model) or not isinstance(models, Sequence) else list(models)
    references = _named_references(reference)
    for what, given in (("models", makers), ("reference", references)):
        if not given:
            raise ValueError(f"`{what}` must hold at least one, got none")
    lacking = {} if definition is None else {name: one for name, one in references.items() if definition not in one.moments}
    if len(lacking) == len(references):
        labels(next(iter(lacking.values())), definition)  # which it does not have
    references = {name: one for name, one in references.items() if name not in lacking}
    failed = {name: f"none by {definition}, only by {', '.join(one.moments)}" for name, one in lacking.items()}
    for maker in makers:
        if not callable(maker):
            raise TypeError(f"`models` must be cgdft.Model objects, or callables reference -> Model, got {maker!r}")
    made = [{name: _made(maker, one) for name, one in references.items()} for maker in makers]
    names = _distinct(
        next((model.name for model in row.values() if isinstance(model, Model)), getattr(maker, "__name__", "model"))
        for maker, row in zip(makers, made, strict=True)
    )
    scores = [
        score_of(name, molecule, row[molecule], one, definition)
        for molecule, one in references.items()
        for name, row in zip(names, made, strict=True)
    ]
    return Comparison(references, tuple(scores), failed, definition=definition)


def _named_references(given: Reference | Sequence[Reference] | Mapping[str, Reference]) -> dict[str, Reference]:
    if isinstance(given, Mapping):
        named = dict(given)
    else:
        listed = [given] if isinstance(given, Reference) else list(given)
        wrong = next((one for one in listed if not isinstance(one, Reference)), None)
        if wrong is not None:
            raise TypeError(f"`reference` must be cgdft.validation.Reference objects, got {wrong!r}")
        named = dict(zip(_distinct(_formula(one) for one in listed), listed, strict=True))
    for name, one in named.items():
        if not isinstance(one, Reference):
            raise TypeError(f"`reference` must be cgdft.validation.Reference objects, got {one!r} for {name!r}")
    return named


def _symbols(reference: Reference) -> list[str]:
    from ase.data import chemical_symbols

    return [chemical_symbols[number] for number in reference.numbers]


def _formula(reference: Reference) -> str:
    formula = Formula.from_list(_symbols(reference)).format("metal")
    return f"{formula} ({reference.charge:+d})" if reference.charge else formula


def _distinct(names: Any) -> list[str]:
    """A repeated name gets a number."""
    result: list[str] = []
    for name in names:
        result.append(distinct(name, result))
    return result


def _made(maker: Any, reference: Reference) -> Model | Exception:
    from cgdft.model import Model

    if isinstance(maker, Model):
        return maker
    try:
        model = maker(reference)
        if not isinstance(model, Model):
            raise TypeError(f"`models` must be callables reference -> Model, got one that returns {model!r}")
    except Exception as error:  # user code: whatever it raises is reported, and the rest goes on
        return error
    return model
