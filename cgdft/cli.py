"""The command line. What is heavy to import (torch, ASE, PySCF) is imported inside the commands that use it."""

from __future__ import annotations

import json as jsonlib
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from cgdft import __version__, listing, training_commands
from cgdft.making import Choice, told
from cgdft.terminal import complain, models_and_files, progress, read, show, suite_names, write

if TYPE_CHECKING:
    from ase import Atoms

    from cgdft.solution import Solution

#: What a wrong input or a failed calculation raises; anything else is a mistake of ours and keeps its traceback.
EXPECTED = (ValueError, TypeError, RuntimeError, OSError, ImportError, MemoryError)
#: The base of wrong options and arguments, in click or in typer's own copy of it.
USAGE: type[Exception] = typer.BadParameter.__mro__[2]
#: What `--model` takes.
OF_MODEL = (
    "A model of cgdft models; a file of cgdft train; or a Python file that defines model: a cgdft.Model, or a function of a "
    "structure that returns one."
)
#: Atoms solved together when only a table is asked for.
BATCH = 400

app = typer.Typer(
    name="cgdft",
    help="Coarse-grained density-functional theory: minimise an energy functional of Gaussian atomic multipoles.",
    epilog="Examples:\n\n"
    "cgdft solve water.xyz --model qeq-dipoles\n\n"
    "cgdft solve run.traj --index : --output charges.extxyz\n\n"
    "cgdft models\n\n"
    "cgdft cite qeq > cgdft.bib",
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)


def _version(wanted: bool) -> None:
    if wanted:
        print(f"cgdft {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors; may stand anywhere.")] = False,
) -> None:
    pass


@app.command(
    epilog="Examples:\n\n"
    "cgdft solve water.xyz\n\n"
    "cgdft solve ion.xyz --charge -1 --model qeq-dipoles --plot ion.png\n\n"
    "cgdft solve water.xyz --field 0 0 0.1 --json > water.json\n\n"
    "cgdft solve water.xyz --model mine.py\n\n"
    "cgdft solve run.traj --index ::10 --output charges.extxyz"
)
def solve(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Any structure file that ASE reads.")],
    model: Annotated[str, typer.Option(metavar="NAME|FILE", help=OF_MODEL, autocompletion=models_and_files)] = "qeq",
    charge: Annotated[
        float | None, typer.Option(help="Total charge, e; default: that in the file, else 0.", show_default=False)
    ] = None,
    spin: Annotated[float | None, typer.Option(help="Number of unpaired electrons; default: that in the file, else 0.")] = None,
    field: Annotated[
        tuple[float, float, float] | None,
        typer.Option(metavar="FX FY FZ", help="Uniform external field, V/angstrom, along axes that are not periodic."),
    ] = None,
    potential: Annotated[
        float | None,
        typer.Option(metavar="V", help="Potential V = dE/dq, volt, at which all is held instead of a charge."),
    ] = None,
    index: Annotated[
        str, typer.Option(metavar="INDEX", help="Which structures of the file: a number, or a slice such as : or ::10.")
    ] = "-1",
    json: Annotated[
        bool, typer.Option("--json", help="JSON in atomic units; a list for several structures.", show_default=False)
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

    choice = Choice(model)
    for name, path, suffixes in (("--output", output, {".xyz", ".extxyz"}), ("--plot", plot, {".png", ".pdf", ".svg"})):
        if path is not None and path.suffix not in suffixes:
            raise ValueError(f"`{name}` must end in {' or '.join(sorted(suffixes))}, got {path}")
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"`{name}` must be in a folder that exists, got {path}")
    structures = read(file, index)
    if plot is not None and len(structures) > 1:
        raise ValueError(f"`--plot` takes one structure, got {len(structures)}; choose one with --index")

    if output is not None and output.exists() and output.samefile(file):
        raise ValueError(f"`--output` must be another file than the one that is read, got {output} for both")

    # as a batch where a table is enough, one by one where each has its own derivatives
    size = 1 if json or output or plot or len(structures) == 1 else max(1, BATCH // max(map(len, structures)))
    listed: list[Any] = []
    failed: dict[int, Exception] = {}
    written, notes = False, dict.fromkeys([choice.note] if choice.note else [])
    with progress() as bar:
        task = bar.add_task("solving", total=len(structures), visible=len(structures) > 1)
        for numbers in (range(first, min(first + size, len(structures))) for first in range(0, len(structures), size)):
            for some in _solved(structures, numbers, lambda atoms: _solve(atoms, choice, charge, spin, field, potential)):
                part = [structures[number] for number in some.numbers]
                if isinstance(some.solution, Exception):
                    failed[some.numbers[0]] = some.solution
                    listed += [{"error": str(some.solution)}] if json else []
                    continue
                if output is not None:
                    write(output, part[0], some.solution, append=written)
                    written = True
                if plot is not None:
                    some.solution.plot(plot)
                notes.update(dict.fromkeys(notes_on(some.solution)))
                listed += [some.solution.to_dict()] if json else one_line_each(some.solution, part, some.numbers[0])
                solution = some.solution
            bar.advance(task, len(numbers))
    if len(failed) == len(structures) and len({str(error) for error in failed.values()}) == 1:
        raise failed[0]  # of what was asked for, not of a structure
    for note in notes:
        complain(note)
    for number, error in failed.items():
        complain(f"structure {number} of {file} ({structures[number].get_chemical_formula()}): {error}")
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


@app.command(
    epilog="Examples:\n\ncgdft validate water.xyz benzene.xyz --model qeq --model mine.py\n\n"
    "cgdft validate --suite molecules --definition MBIS --html report.html"
)
def validate(
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILE]...", help="Structure files that ASE reads.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|FILE",
            help=f"{OF_MODEL} Repeatable; default: QEq and some for comparison.",
            autocompletion=models_and_files,
        ),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Functional and basis set of PySCF; default pbe/def2-svp, or what a suite says.")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="A suite, see cgdft suites, or an HDF5 file of cgdft reference; default without FILE: small.",
            autocompletion=suite_names,
        ),
    ] = None,
    definition: Annotated[
        str | None, typer.Option(help="Definition of the charges compared with, such as MBIS; default: Hirshfeld's.")
    ] = None,
    index: Annotated[
        str, typer.Option(metavar="INDEX", help="Which structures of each FILE: a number, or a slice such as : or ::10.")
    ] = "-1",
    html: Annotated[Path | None, typer.Option(help="Write a report with figures to this file, and JSON beside it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.", show_default=False)] = False,
    threads: Annotated[int | None, typer.Option(help="Processor cores to use; default: all.")] = None,
) -> None:
    """Compare models with the densities of density-functional theory (PySCF)."""
    choices = [Choice(name) for name in model or []]
    if html is not None and not html.parent.is_dir():
        raise ValueError(f"`--html` must be in a folder that exists, got {html}")
    if files and suite is not None:
        raise ValueError(f"`--suite` or FILE must be left out, got {suite} and {', '.join(files)}")
    structures = []
    for file in files or []:
        found = read(file, index)
        structures += [(f"{Path(file).stem}{f' {k}' if len(found) > 1 else ''}", atoms) for k, atoms in enumerate(found)]
    for one in choices:
        one.check([atoms for _, atoms in structures])

    from cgdft.validation import baselines, run

    if structures:
        results = run.references(structures, method or "pbe/def2-svp", sys.stderr.isatty(), threads, definition=definition)
    else:
        results = run.suite_results(suite or "small", method, sys.stderr.isatty(), threads)
    chosen = [one.for_references(results.references, dict(structures)) for one in choices] or baselines.demo_models()
    report = run.report(results, chosen, html, suite or ("" if files else "small"), definition)
    for one in choices:
        if one.note:
            complain(one.note)
    if json:
        print(jsonlib.dumps(report.to_dict(), indent=2))
    else:
        show(report.table())
    if all(score.reason for score in report.scores):
        raise ValueError("nothing could be compared: every reference or every model failed, see above")


@app.command(
    epilog="Examples:\n\ncgdft reference molecules\n\ncgdft reference mine.py --workers 8 --export mine.extxyz\n\n"
    "cgdft reference chains --scheduler tcp://node17:8786"
)
def reference(
    suite: Annotated[
        str,
        typer.Argument(
            help="A suite, see cgdft suites, or a Python file whose list suite holds (structure, charge, spin, field, method).",
            autocompletion=suite_names,
        ),
    ],
    output: Annotated[Path | None, typer.Option(help="HDF5 file of the results; default: SUITE.h5 here.")] = None,
    workers: Annotated[int | None, typer.Option(help="Processes, one thread each; default: all cores.")] = None,
    scheduler: Annotated[
        str | None, typer.Option(metavar="ADDRESS", help="Dask scheduler with workers of its own, on many machines.")
    ] = None,
    retry: Annotated[bool, typer.Option("--retry", help="Try again what failed before.", show_default=False)] = False,
    export: Annotated[Path | None, typer.Option(help="Also write the results as extended xyz.")] = None,
) -> None:
    """Compute the references of a suite with PySCF, in parallel; started again, it computes only what is missing."""
    from cgdft.validation import suites
    from cgdft.validation.campaign import campaign

    if export is not None and (export.suffix not in (".xyz", ".extxyz") or not export.parent.is_dir()):
        raise ValueError(f"`--export` must end in .xyz or .extxyz and be in a folder that exists, got {export}")
    points = suites.from_file(Path(suite)) if suite.endswith(".py") else suites.load(suite)
    path = output or Path(f"{Path(suite).stem}.h5")
    results = campaign(points, path, workers=workers, scheduler=scheduler, retry=retry)
    print(f"{path}: {len(results.references)} of {len(results.references) + len(results.failed)} calculations")
    for name, reason in results.failed.items():
        print(f"  {name} failed: {reason}")
    if export is not None:
        print(results.export(export))
    if results.failed and not results.references:
        raise ValueError(f"all {len(results.failed)} calculations failed, see above")


app.command()(listing.suites)
app.command()(listing.models)
app.command(epilog="Examples:\n\ncgdft cite\n\ncgdft cite qeq-dipoles --output paper.bib")(listing.cite)
app.command(epilog="Examples:\n\ncgdft train water.yaml\n\ntorchrun --nproc-per-node 2 -m cgdft train water.yaml")(
    training_commands.train
)
app.command(epilog="Examples:\n\ncgdft evaluate run/model.safetensors test.extxyz --json")(training_commands.evaluate)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 after one line about an error, 130 when interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [one for one in given if one != "--debug"] or ["--help"]
    try:
        with warnings.catch_warnings():
            if not debug:
                warnings.showwarning = lambda message, *_, **__: complain(str(message))
            code = int(app(given, prog_name="cgdft", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except USAGE as error:
        return _failed(f"{error.format_message()} (see cgdft {_command(given)}--help)")  # type: ignore[attr-defined]
    except EXPECTED as error:
        if debug:
            raise
        return _failed(str(error) or type(error).__name__)
    if code == 130:
        print("cgdft: interrupted", file=sys.stderr)
    return code


class _Solved(NamedTuple):
    """The places of some structures, and their solution or why there is none."""

    numbers: Sequence[int]
    solution: Solution | Exception


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


def _failed(message: str) -> int:
    complain(message)
    return 2


def _command(given: list[str]) -> str:
    commands = {one.callback.__name__ for one in app.registered_commands if one.callback}
    return f"{given[0]} " if given[0] in commands else ""


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
    except EXPECTED:
        raise
    except Exception as error:  # a term of a user's own: whatever it raises
        raise ValueError(f"{choice.name}: its energy failed ({told(error, Path(choice.name))})") from error
    return solution
