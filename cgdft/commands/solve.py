"""The command `cgdft solve`. What is heavy to import is imported inside of it."""

from __future__ import annotations

import json as jsonlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cgdft.commands.chosen_model import Choice
from cgdft.commands.terminal import (
    EXPECTED,
    LAST,
    OF_MODEL,
    check_output,
    complain,
    models_and_files,
    places_of,
    progress,
    read,
    write,
)
from cgdft.user_code import lines_in, told

if TYPE_CHECKING:
    from ase import Atoms

    from cgdft.solution import Solution

#: Atoms solved together when only a table is asked for.
BATCH = 400


def solve(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Any structure file that ASE reads.")],
    model: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME|FILE", help=OF_MODEL, autocompletion=models_and_files, show_default="qeq"),
    ] = None,
    charge: Annotated[
        float | None, typer.Option(help="Total charge, e; default: that in the file, else 0.", show_default=False)
    ] = None,
    spin: Annotated[float | None, typer.Option(help="Number of unpaired electrons; default: that in the file, else 0.")] = None,
    field: Annotated[
        tuple[float, float, float] | None,
        typer.Option(metavar="FX FY FZ", help="Uniform external field, V/angstrom."),
    ] = None,
    potential: Annotated[
        float | None,
        typer.Option(metavar="V", help="Potential V = dE/dq, volt, at which all is held instead of a charge."),
    ] = None,
    index: Annotated[
        str, typer.Option(metavar="INDEX", help="Which structures of the file: a number, or a slice such as : or ::10.")
    ] = LAST,
    json: Annotated[
        bool,
        typer.Option(
            "--json", help="JSON in atomic units; of several structures a list, each with its index.", show_default=False
        ),
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option(help="Extended xyz file with energies, forces, charges in ASE's units (eV, angstrom, e)."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(help="Figure of charges and potential, of one structure.")] = None,
) -> None:
    """Minimise a model's energy on the structures of FILE and print charges, energies and potentials.

    Models without parameters for general use are solved with illustrative ones, and stderr says so.
    """
    if charge is not None and potential is not None:
        raise ValueError(f"`--charge` or `--potential` must be left out, got {charge} e and {potential} V")
    from cgdft.printing import notes_on, one_line_each

    if model and len(model) > 1:
        raise ValueError(f"`--model` must be one, got {' and '.join(model)}; cgdft validate compares several with references")
    choice = Choice(model[0] if model else "qeq")
    check_output("--output", output, (".extxyz", ".xyz"), file)
    check_output("--plot", plot, (".pdf", ".png", ".svg"), file)
    structures = read(file, index)
    places = places_of(index, len(structures))
    if plot is not None and len(structures) > 1:
        raise ValueError(f"`--plot` takes one structure, got {len(structures)}; choose one with --index")

    # in batches, or one by one where each has a text or picture of its own
    size = 1 if json or plot or len(structures) == 1 else max(1, BATCH // max(map(len, structures)))
    listed: list[Any] = []
    failed: dict[int, Exception] = {}

    def one_or_more(atoms: list[Atoms]) -> Solution:
        solution = _solve(atoms, choice, charge, spin, field, potential)
        if output is not None:
            solution.forces()  # what fails there fails alone as well
        return solution

    written, notes = False, dict.fromkeys([choice.note] if choice.note else [])
    with progress() as bar:
        task = bar.add_task("solving", total=len(structures), visible=len(structures) > 1)
        for numbers in _batches(structures, size):
            for some in _solved(structures, numbers, one_or_more):
                part = [structures[number] for number in some.numbers]
                which = {"index": places[some.numbers[0]]} if len(structures) > 1 else {}
                if isinstance(some.solution, Exception):
                    failed[some.numbers[0]] = some.solution
                    listed += [{**which, "error": str(some.solution)}] if json else []
                    continue
                if output is not None:
                    of_several = [places[number] for number in some.numbers] if len(structures) > 1 else []
                    write(output, part, some.solution, append=written, places=of_several)
                    written = True
                if plot is not None:
                    some.solution.plot(plot)
                notes.update(dict.fromkeys(notes_on(some.solution)))
                listed += (
                    [{**which, **some.solution.to_dict()}]
                    if json
                    else one_line_each(some.solution, part, [places[k] for k in some.numbers])
                )
                solution = some.solution
            bar.advance(task, len(numbers))
    if len(failed) == len(structures) and len({str(error) for error in failed.values()}) == 1:
        raise failed[0]  # of what was asked for, not of a structure
    for note in notes:
        complain(note)
    for number, error in failed.items():
        complain(f"structure {places[number]} of {file} ({structures[number].get_chemical_formula()}): {error}")
    if json:
        print(jsonlib.dumps(listed[0] if len(listed) == 1 else listed, indent=2, allow_nan=False))
    elif len(structures) == 1:
        print(solution)
    else:
        print(f"{choice.label} on {len(structures)} structures of {file}")
        print(f"{'structure':>9} {'formula':<16} {'atoms':>6} {'energy (hartree)':>18} {'charge (e)':>11}")
        print("\n".join(listed))
    if failed:
        raise ValueError(f"{len(failed)} of {len(structures)} structures failed")


class _Solved(NamedTuple):
    """The places of some structures, and their solution or why there is none."""

    numbers: Sequence[int]
    solution: Solution | Exception


def _batches(structures: list[Atoms], size: int) -> Iterator[Sequence[int]]:
    """Numbers of structures that follow each other with the same periodic axes, so many at most."""
    first = 0
    for k in range(1, len(structures) + 1):
        if k == len(structures) or k - first == size or (structures[k].pbc != structures[first].pbc).any():
            yield range(first, k)
            first = k


def _solved(atoms: list[Atoms], numbers: Sequence[int], solve: Callable[[list[Atoms]], Solution]) -> Iterator[_Solved]:
    """Some structures as a batch, or one by one where the batch fails."""
    try:
        yield _Solved(numbers, solve([atoms[number] for number in numbers]))
    except EXPECTED as error:
        if len(numbers) == 1:
            yield _Solved(numbers, error)
            return
        for number in numbers:
            yield from _solved(atoms, [number], solve)


def _solve(
    atoms: list[Atoms],
    choice: Choice,
    charge: float | None,
    spin: float | None,
    field: tuple[float, float, float] | None,
    potential: float | None,
) -> Solution:
    from cgdft.functionals import UniformField
    from cgdft.structure import Structure
    from cgdft.units import volt, volt_per_angstrom

    structure = Structure.from_ase(atoms[0] if len(atoms) == 1 else atoms, charge, spin)
    model = choice.make(atoms, structure)
    if field is not None:
        model = model + UniformField([component * volt_per_angstrom for component in field])
    if potential is not None:
        model = model.at_potential(potential * volt)
    if spin and not model.basis.spin:
        raise ValueError(f"`--spin` must be left out, got {spin:g}: {model.name} has no spin")
    try:
        solution: Solution = model(structure)
        _ = solution.energy
    except Exception as error:  # a term of a user's own: whatever it raises
        if isinstance(error, EXPECTED) and not lines_in(error, Path(choice.name)):
            raise
        raise ValueError(f"{choice.name}: its energy failed ({told(error, Path(choice.name))})") from error
    return solution
