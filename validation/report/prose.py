"""The sentences of a report: what was compared, who errs by how much, and where a model is worst."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Sequence, Sized
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np

from cgdft.validation import definitions, suites
from cgdft.validation.dft.reference import Reference
from cgdft.validation.report.compare import Comparison
from cgdft.validation.report.merit import POINT_LIKE
from cgdft.validation.report.observables import OBSERVABLES, RESPONSES, Observable
from cgdft.validation.report.score import Score, scale

#: Smaller errors of charges and dipoles, e and e bohr, are those of an integration grid: the model was given the answer.
GIVEN = 1e-4
#: Two charges that differ by less, e, are the same.
SAME = 1e-6

ACCURACY = {
    "charge_error_e": "charges add up to the total within {:.0e} e",
    "orbital_gradient": "orbital gradient at most {:.0e} hartree",
    "polarizability_asymmetry_bohr3": "polarizability symmetric to {:.0e} bohr³",
    "susceptibility_asymmetry": "susceptibility symmetric to {:.0e} of its largest element",
    "force_sum": "forces add up to zero within {:.0e} hartree/bohr",
    "electrons_on_mesh": "electrons on the mesh differ from their number by at most {:.0e}",
}


V_REF = (
    "The potential compared with, V_ref, is that of the difference density: of nuclei and electrons, less that of "
    "superposed neutral spherical atoms. A model's density is the deviation from neutral atoms, so this is what it can "
    "reproduce; beyond two van der Waals radii both are the same, unless a neutral atom is as diffuse as lithium. Errors "
    "against the full potential are in the JSON file."
)
MERITS = (
    f"Figures of merit of the definitions: what the reference's own multipoles, on Gaussians of {POINT_LIKE} bohr, miss of "
    "dipole, quadrupole and potential (inner: 1.4 to 2, outer: 2.25 to 3 van der Waals radii), and the largest charge on an "
    "atom; means over molecules. A model that finds exactly these multipoles does as well and no better."
)
NO_MERIT = (
    "Models that take their charges from the reference have no error in them by construction; one that does not respond at all "
    "has a polarizability error of 100 %, which is no merit and never green."
)
ROWS = (
    "Molecule by molecule. The row “reference” has the size of the quantity itself, which is the error of a model that says "
    "zero; for the polarizability and the range of the response it is the reference's value."
)
BASIS_SETS = (
    "A reference's polarizability is that of its basis set: without diffuse functions it is too small, for small molecules "
    "such as water by up to a half. Take a basis such as def2-SVPD where it matters."
)
PLANE = (
    "Potential felt by a positive unit charge on the plane in which the nuclei extend most, and the error V - V_ref of each "
    "model, in the same colours (blue positive). Grey: within one van der Waals radius. Dashed: 1.4 radii, outside of which "
    "potentials are compared. Pale symbols: atoms off the plane."
)


@dataclass(frozen=True, eq=False)
class Standing:
    """How one model does in one observable: its mean error over `count` molecules, and where it is worst."""

    model: str
    mean: float
    count: int
    worst: Score


def standings(comparison: Comparison, observable: Observable) -> list[Standing]:
    """Of every model with numbers, in the comparison's order; those without any response or never solved are left out.

    The means are those of the table: where a model that responds elsewhere does not, its error of 100 % counts.
    """
    found = []
    for model in comparison.models:
        scores = [one for one in comparison.scores if one.model == model and getattr(one, observable.key) is not None]
        if any(_merit(observable, one) is not None for one in scores):
            errors = [getattr(one, observable.key) for one in scores]
            found.append(Standing(model, float(np.mean(errors)), len(scores), scores[int(np.argmax(errors))]))
    return found


def informed(comparison: Comparison) -> set[str]:
    """Models that were given the charges of a stored definition, so that these are not theirs."""
    found = set()
    for model in comparison.models:
        solved = [(one.molecule, one.solution) for one in comparison.scores if one.model == model and one.solution is not None]
        told = [
            any(np.abs(charges - moments[:, 0]).max() < SAME for moments in comparison.references[name].moments.values())
            for name, charges in ((name, solution.charges.detach().numpy()) for name, solution in solved)
        ]
        polar = any(np.abs(comparison.references[name].multipoles[:, 0]).max() > GIVEN for name, _ in solved)
        if told and all(told) and polar:
            found.add(model)
    return found


def abstract(comparison: Comparison) -> str:
    """One paragraph with the main numbers."""
    models, n = comparison.models, len(comparison.references)
    if not comparison.scores:
        return f"No {noun(comparison)} has a reference: nothing was compared."
    sentences = [
        f"{count(models, 'model')} of the coarse-grained density ({listed(models)}) {'is' if len(models) == 1 else 'are'} "
        f"compared with {methods(comparison)} on {n} {noun(comparison)}{'' if n == 1 else 's'}; charges are those of "
        f"{comparison.label()}.",
        f"{suite_line(comparison)}." if comparison.suite else "",
        *_best(comparison),
        _worst(comparison),
        _unsolved(comparison),
    ]
    return " ".join(filter(None, sentences))


def finding(comparison: Comparison, observable: Observable) -> str:
    """Mean error of each model, the worst case, and what to read the numbers against."""
    told = informed(comparison) if not _relative(observable) else set()
    whole = standings(comparison, observable)
    given = [one.model for one in whole if one.model in told and one.mean < GIVEN]
    own = [one for one in whole if one.model not in given]
    most = max((one.count for one in own), default=0)
    means = [
        f"{observable.text(one.mean)} for {one.model}" + (f" (over {one.count})" if one.count < most else "") for one in own
    ]
    sentences = []
    if own:
        sentences.append(f"The mean {observable.error} is {listed(means)}, over {_of(most, noun(comparison))}.")
    if own and most > 1:
        worst = max(own, key=lambda one: getattr(one.worst, observable.key))
        error = observable.text(getattr(worst.worst, observable.key))
        sentences.append(f"The worst case is {worst.model} on {worst.worst.molecule}: {error}.")
    if given:
        sentences.append(f"{listed(given)} {'has' if len(given) == 1 else 'have'} the reference's own, and no error.")
    still = [model for model in comparison.models if model not in {one.model for one in whole} and _solved(comparison, model)]
    if still and observable.key in RESPONSES:
        sentences.append(f"{listed(still)} {'does' if len(still) == 1 else 'do'} not respond: an error of 100 %.")
    if not _relative(observable):
        sizes = [
            getattr(scale(name, one, comparison.definition), observable.key) for name, one in comparison.references.items()
        ]
        known = [size for size in sizes if size is not None]
        sentences.append(f"A model that says zero would have {observable.text(float(np.mean(known)))}." if known else "")
    return " ".join(filter(None, sentences))


def compared_with(comparison: Comparison) -> str:
    """Whose charges, and what that means."""
    return (
        f"Charges and dipoles of atoms are compared with those of {comparison.label()}. A definition is one of many: a model "
        "with other charges is not wrong for that; molecular moments and the potential outside do not depend on it. Stored "
        "are multipoles by"
    )


def definition(name: str) -> list[tuple[str, bool]]:
    """Paragraphs of a definition's docstring, but for its arguments and errors, and whether each is a formula."""
    kind = name.partition("(")[0]
    if kind not in definitions.__all__:
        return []
    paragraphs = (inspect.getdoc(vars(definitions)[kind]) or "").split("\n\n")
    kept = [text for text in paragraphs if not text.startswith(("Args:", "Raises:"))]
    formulas = [k == 0 or text.startswith(" ") for k, text in enumerate(kept)]
    return [(text if formula else " ".join(text.split()), formula) for text, formula in zip(kept, formulas, strict=True)]


def failures(comparison: Comparison) -> list[tuple[str, str]]:
    """(who and where, why) of what has no number, the same reason of one model once, and of references in doubt."""
    broken = [one for one in comparison.scores if one.reason]
    broken.sort(key=lambda one: (comparison.models.index(one.model), _kind(one.reason)))
    found = []
    for (model, _), group in groupby(broken, key=lambda one: (one.model, _kind(one.reason))):
        scores = list(group)
        found.append((f"{model} on {listed([one.molecule for one in scores])}", scores[0].reason))
    found += [(f"the reference of {name}", doubt) for name, one in comparison.references.items() for doubt in one.doubts]
    return found + [(f"{name} has no reference", why) for name, why in comparison.failed.items()]


def accuracy(references: Iterable[Reference]) -> str:
    """The worst of every check that the references went through."""
    checks = [one.provenance.get("accuracy", {}) for one in references]
    worst = {key: max((abs(float(one[key])) for one in checks if key in one), default=None) for key in ACCURACY}
    return "; ".join(ACCURACY[key].format(value) for key, value in worst.items() if value is not None)


def settings(references: Iterable[Reference]) -> str:
    """What the references were computed with, but for the definitions of multipoles."""
    values: dict[str, set[str]] = {}
    for one in references:
        given = {"scf_grid_level": one.provenance.get("scf_grid_level"), **one.provenance.get("settings", {})}
        for name, value in given.items():
            if name != "definitions" and value is not None:
                values.setdefault(name, set()).add(str(value))
    return ", ".join(f"{name} = {' or '.join(sorted(found))}" for name, found in values.items())


def responding(references: Iterable[Reference]) -> str:
    """The definitions whose charges have a stored response; that of a request's first one is computed."""
    names = [one.provenance.get("settings", {}).get("definitions", []) for one in references if one.susceptibility is not None]
    return ", ".join(dict.fromkeys(one[0] for one in names if one))


def about(reference: Reference) -> str:
    """A molecule in one sentence."""
    charge = f"total charge {reference.charge:+d} e" if reference.charge else "neutral"
    text = f"{count(reference.numbers, 'atom')}, {charge}"
    if reference.spin:
        text += f", {reference.spin} unpaired electron{'' if reference.spin == 1 else 's'}"
    if reference.field.any():
        text += f", in the field {reference.field.tolist()} hartree/(e bohr)"
    text += f"; {reference.method} energy {reference.energy:.6f} hartree"
    if reference.dipole is not None:
        dipole = ", ".join(f"{round(component, 4) + 0.0:.4f}" for component in reference.dipole)  # + 0.0: no minus zero
        text += f", dipole ({dipole}) e bohr"
    return f"{text}."


def suite_line(comparison: Comparison) -> str:
    """The suite with what it holds, if it comes with the package."""
    known = comparison.suite in suites.names()
    return f"The suite is “{comparison.suite}”" + (f": {suites.about(comparison.suite)}" if known else "")


def methods(comparison: Comparison) -> str:
    """The references' methods."""
    return sorted_all(one.method for one in comparison.references.values()) or "none"


def noun(comparison: Comparison) -> str:
    """Structures, where some are periodic or the same molecule comes twice."""
    references = list(comparison.references.values())
    kinds = {(tuple(sorted(one.numbers.tolist())), one.charge) for one in references}
    return "structure" if len(kinds) < len(references) or any(one.pbc.any() for one in references) else "molecule"


def count(things: Sized, what: str) -> str:
    """How many: 3 models."""
    return f"{len(things)} {what}{'' if len(things) == 1 else 's'}"


def listed(names: Sequence[str]) -> str:
    """A, B and C; of more than twelve the first."""
    if len(names) > 12:
        names = [*names[:11], f"{len(names) - 11} more"]
    return ", ".join(names[:-1]) + " and " + names[-1] if len(names) > 1 else "".join(names)


def sorted_all(values: Iterable[Any]) -> str:
    """Different values, in order."""
    return ", ".join(sorted({str(value) for value in values}))


def span(dates: Iterable[str]) -> str:
    """From the first date to the last."""
    found = sorted({date for date in dates if date})
    return " to ".join(dict.fromkeys((found[0], found[-1]))) if found else "at an unknown date"


def _merit(observable: Observable, score: Score) -> float | None:
    """The error by which models are ranked: none for one that does not respond."""
    if observable.key == "response_error" and score.response_range is None:
        return None
    return None if observable.column.merit(score) is None else getattr(score, observable.key)


def _relative(observable: Observable) -> bool:
    return observable.column.unit == "%"


def _best(comparison: Comparison) -> list[str]:
    """The best of the models that answer by themselves, and what those reach that were given the reference's charges."""
    told = informed(comparison)
    own, best = {}, {}
    ranked: list[Standing] = []
    beaten: set[str] = set()
    for one in OBSERVABLES:
        whole = standings(comparison, one)
        rivals = [standing for standing in whole if standing.model not in told]
        most = max((standing.count for standing in rivals), default=0)
        whole_ones = [standing for standing in rivals if standing.count == most]
        ranked, beaten = [*ranked, *whole_ones], beaten | {standing.model for standing in rivals}
        if rivals:
            own[one] = min(whole_ones, key=lambda standing: standing.mean)
        if one.key == "potential_inner" and (limits := [standing for standing in whole if standing.model in told]):
            best[one] = min(limits, key=lambda standing: standing.mean)
    sentences = []
    if own:
        n = len(comparison.references)
        parts = [
            f"{one.text(standing.mean)} in {one.name} ({standing.model}{_over(standing.count, n)})"
            for one, standing in own.items()
        ]
        contest = len(set(comparison.models) - told) > 1
        fewer = sorted(beaten - {standing.model for standing in ranked})
        apart = f" {listed(fewer)}, which did not solve all, {'is' if len(fewer) == 1 else 'are'} not ranked." if fewer else ""
        sentences.append(f"The {'smallest ' if contest else ''}mean errors are {listed(parts)}.{apart}")
    for one, standing in best.items():
        sentences.append(
            f"The reference's own multipoles, held fixed ({standing.model}), have {one.text(standing.mean)} in {one.name}."
        )
    return sentences


def _over(number: int, whole: int) -> str:
    return f", over {number}" if number < whole else ""


def _worst(comparison: Comparison) -> str:
    """The largest relative error of all, or of the charges where there is none."""
    told = informed(comparison)
    cases = [
        (_relative(one), getattr(standing.worst, one.key), one, standing)
        for one in OBSERVABLES
        if _relative(one) or one.key == "charges_rms"
        for standing in standings(comparison, one)
        if standing.model not in told
    ]
    if not cases or len(comparison.references) < 2:
        return ""
    _, error, one, standing = max(cases, key=lambda case: case[:2])
    return f"The worst failure is {standing.model} on {standing.worst.molecule}, with {one.text(error)} in {one.name}."


def _unsolved(comparison: Comparison) -> str:
    broken: dict[str, list[str]] = {}
    for score in comparison.scores:
        if score.reason:
            broken.setdefault(score.model, []).append(score.molecule)
    what = noun(comparison)
    parts = [f"{model} on {listed(names) if len(names) < 4 else _of(len(names), what)}" for model, names in broken.items()]
    return f"Without a solution: {'; '.join(parts)}." if parts else ""


def _solved(comparison: Comparison, model: str) -> bool:
    return any(one.model == model and one.solution is not None for one in comparison.scores)


def _kind(reason: str) -> str:
    """A reason without its numbers."""
    return re.sub(r"[-+]?\d[\d.]*(e[-+]?\d+)?", "", reason)


def _of(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
