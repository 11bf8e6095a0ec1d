"""The command line. What is heavy to import (torch, ASE, PySCF) is imported inside the commands that use it."""

from __future__ import annotations

import json as jsonlib
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cgdft import __version__
from cgdft.citations import bibtex, keys_of, model_record, references
from cgdft.citations import models as known_models

if TYPE_CHECKING:
    from ase import Atoms
    from rich.progress import Progress

    from cgdft.model import Model
    from cgdft.solution import Solution

#: What a wrong input or a failed calculation raises; anything else is a mistake of ours and keeps its traceback.
EXPECTED = (ValueError, TypeError, RuntimeError, OSError, ImportError, MemoryError)
#: The base of wrong options and arguments, in click or in typer's own copy of it.
USAGE: type[Exception] = typer.BadParameter.__mro__[2]
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


def _names(incomplete: str) -> list[tuple[str, str]]:
    return [(one.name, one.about) for one in known_models() if one.name.startswith(incomplete)]


def _suites(incomplete: str) -> list[str]:
    from cgdft.validation.suites import names

    return [name for name in names() if name.startswith(incomplete)]


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
    "cgdft solve run.traj --index ::10 --output charges.extxyz"
)
def solve(
    file: Annotated[str, typer.Argument(metavar="FILE", help="Any structure file that ASE reads.")],
    model: Annotated[str, typer.Option(help="Name of the model; see cgdft models.", autocompletion=_names)] = "qeq",
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
    """Minimise a model's energy on the structures of FILE and print charges, energies and potentials."""
    if charge is not None and potential is not None:
        raise ValueError(f"`--charge` or `--potential` must be left out, got {charge} e and {potential} V")
    from cgdft.printing import one_line_each

    model_record(model)
    for name, path, suffixes in (("--output", output, {".xyz", ".extxyz"}), ("--plot", plot, {".png", ".pdf", ".svg"})):
        if path is not None and path.suffix not in suffixes:
            raise ValueError(f"`{name}` must end in {' or '.join(sorted(suffixes))}, got {path}")
        if path is not None and not path.parent.is_dir():
            raise ValueError(f"`{name}` must be in a folder that exists, got {path}")
    structures = _read(file, index)
    if plot is not None and len(structures) > 1:
        raise ValueError(f"`--plot` takes one structure, got {len(structures)}; choose one with --index")

    # as a batch where a table is enough, one by one where each has its own derivatives
    size = 1 if json or output or plot or len(structures) == 1 else max(1, BATCH // max(map(len, structures)))
    listed: list[Any] = []
    with _progress() as progress:
        task = progress.add_task("solving", total=len(structures), visible=len(structures) > 1)
        for first in range(0, len(structures), size):
            part = structures[first : first + size]
            solution = _solve(part, model, charge, spin, field, potential)
            if output is not None:
                _write(output, part[0], solution, append=first > 0)
            if plot is not None:
                solution.plot(plot)
            listed += [solution.to_dict()] if json else one_line_each(solution, part, first)
            progress.advance(task, len(part))
    if json:
        print(jsonlib.dumps(listed[0] if len(listed) == 1 else listed, indent=2, allow_nan=False))
    elif len(structures) == 1:
        print(solution)
    else:
        print(f"{model_record(model).maker} on {len(structures)} structures of {file}")
        print(f"{'structure':>9} {'formula':<16} {'atoms':>6} {'energy (hartree)':>18} {'charge (e)':>11}")
        print("\n".join(listed))


@app.command(
    epilog="Examples:\n\ncgdft validate water.xyz benzene.xyz --model qeq --model qeq-dipoles\n\n"
    "cgdft validate --suite molecules --definition MBIS --html report.html"
)
def validate(
    files: Annotated[list[str] | None, typer.Argument(metavar="[FILE]...", help="Structure files that ASE reads.")] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="Name of a model, repeatable; default: QEq and some for comparison.", autocompletion=_names),
    ] = None,
    method: Annotated[
        str | None, typer.Option(help="Functional and basis set of PySCF; default pbe/def2-svp, or what a suite says.")
    ] = None,
    suite: Annotated[
        str | None,
        typer.Option(
            help="A suite, see cgdft suites, or an HDF5 file of cgdft reference; default without FILE: small.",
            autocompletion=_suites,
        ),
    ] = None,
    definition: Annotated[
        str | None, typer.Option(help="Definition of the charges compared with, such as MBIS; default: Hirshfeld's.")
    ] = None,
    html: Annotated[Path | None, typer.Option(help="Write a report with figures to this file, and JSON beside it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.", show_default=False)] = False,
    threads: Annotated[int | None, typer.Option(help="Processor cores to use; default: all.")] = None,
) -> None:
    """Compare models with the densities of density-functional theory (PySCF)."""
    for name in model or []:
        model_record(name)
    if html is not None and not html.parent.is_dir():
        raise ValueError(f"`--html` must be in a folder that exists, got {html}")
    if files and suite is not None:
        raise ValueError(f"`--suite` or FILE must be left out, got {suite} and {', '.join(files)}")
    structures = [(Path(file).stem, atoms) for file in files or [] for atoms in _read(file, "-1")]

    from cgdft.validation import baselines, run

    if structures:
        results = run.references(structures, method or "pbe/def2-svp", sys.stderr.isatty(), threads)
    else:
        results = run.suite_results(suite or "small", method, sys.stderr.isatty(), threads)
    atoms = [reference.atoms() for reference in results.references.values()]
    chosen = [_make(name, atoms) for name in model] if model else baselines.demo_models()
    report = run.report(results, chosen, html, suite or ("" if files else "small"), definition)
    if json:
        print(jsonlib.dumps(report.to_dict(), indent=2))
    else:
        _print(report.table())


@app.command(
    epilog="Examples:\n\ncgdft reference molecules\n\ncgdft reference mine.py --workers 8 --export mine.extxyz\n\n"
    "cgdft reference chains --scheduler tcp://node17:8786"
)
def reference(
    suite: Annotated[
        str,
        typer.Argument(
            help="A suite, see cgdft suites, or a Python file whose list suite holds (structure, charge, spin, field, method).",
            autocompletion=_suites,
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

    if export is not None and export.suffix not in (".xyz", ".extxyz"):
        raise ValueError(f"`--export` must end in .xyz or .extxyz, got {export}")
    points = suites.from_file(Path(suite)) if suite.endswith(".py") else suites.load(suite)
    path = output or Path(f"{Path(suite).stem}.h5")
    results = campaign(points, path, workers=workers, scheduler=scheduler, retry=retry)
    print(f"{path}: {len(results.references)} of {len(results.references) + len(results.failed)} calculations")
    for name, reason in results.failed.items():
        print(f"  {name} failed: {reason}")
    if export is not None:
        print(results.export(export))


@app.command()
def suites() -> None:
    """List the suites of reference calculations that come with cgdft."""
    from rich.table import Table

    from cgdft.validation import suites

    table = Table("name", "calculations", "results", "what it holds", box=None, pad_edge=False)
    for name in suites.names():
        kept = "stored" if suites.stored(name) else "computed when asked for"
        table.add_row(name, str(len(suites.load(name))), kept, suites.about(name))
    _print(table)


@app.command()
def models() -> None:
    """List the models with what they are, where they stand in the space of approximations, and where they come from."""
    from dataclasses import astuple

    from rich.table import Table

    from cgdft.design_space import Place, places

    heads = [name.replace("_", " ") for name in Place.__dataclass_fields__]
    table = Table("name", *heads, "charges", box=None, pad_edge=False)
    found = places()
    for record, where, said in found:
        table.add_row(record.name, *astuple(where), said)
    _print(table)
    notes = Table("name", "what it is", "source", box=None, pad_edge=False)
    for record, _, _ in found:
        needs = f" Needs {', '.join(record.needs)}." if record.needs else ""
        notes.add_row(record.name, record.about + needs, ", ".join(record.keys))
    print()
    _print(notes)


@app.command(epilog="Examples:\n\ncgdft cite\n\ncgdft cite qeq-dipoles --output paper.bib")
def cite(
    model: Annotated[
        list[str] | None,
        typer.Argument(metavar="[MODEL]...", help="Models used, or keys of references.", autocompletion=_names),
    ] = None,
    output: Annotated[Path | None, typer.Option(help="A file for it instead of the terminal.")] = None,
) -> None:
    """Print BibTeX for cgdft and for the sources of MODEL."""
    keys = ["cgdft"]
    for name in model or []:
        keys += [name] if name in references() else keys_of(name)
    text = bibtex(keys)
    if output is None:
        print(text)
    else:
        output.write_text(text + "\n", encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code: 0, 2 after one line about an error, 130 when interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [one for one in given if one != "--debug"] or ["--help"]
    try:
        code = int(app(given, prog_name="cgdft", standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except USAGE as error:
        return _complain(f"{error.format_message()} (see cgdft {_command(given)}--help)")  # type: ignore[attr-defined]
    except EXPECTED as error:
        if debug:
            raise
        return _complain(str(error) or type(error).__name__)
    if code == 130:
        print("cgdft: interrupted", file=sys.stderr)
    return code


def _complain(message: str) -> int:
    print("cgdft:", " ".join(message.split()), file=sys.stderr)
    return 2


def _command(given: list[str]) -> str:
    commands = {one.callback.__name__ for one in app.registered_commands if one.callback}
    return f"{given[0]} " if given[0] in commands else ""


def _read(file: str, index: str) -> list[Atoms]:
    """Structures of a file; whatever a reader does with a broken one becomes a ValueError."""
    import warnings

    from ase.io import read

    if not Path(file).is_file():
        raise FileNotFoundError(f"no file {file!r}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = read(file, index=index)
    except Exception as error:
        why = f"{type(error).__name__}: {error}"
        raise ValueError(f"{file}: not readable as structures with index {index!r} ({why})") from error
    structures: list[Atoms] = found if isinstance(found, list) else [found]
    if not structures:
        raise ValueError(f"{file}: no structures with index {index!r}")
    return structures


def _solve(
    atoms: list[Atoms],
    name: str,
    charge: float | None,
    spin: float | None,
    field: tuple[float, float, float] | None,
    potential: float | None,
) -> Solution:
    from cgdft.ase import at_potential
    from cgdft.functionals import UniformField
    from cgdft.structure import Structure
    from cgdft.units import volt, volt_per_angstrom

    model = _make(name, atoms)
    if field is not None:
        model = model + UniformField([component * volt_per_angstrom for component in field])
    if potential is not None:
        model = at_potential(model, potential * volt)
    structure = Structure.from_ase(atoms[0] if len(atoms) == 1 else atoms, charge, spin)
    solution: Solution = model(structure)
    return solution


def _make(name: str, atoms: list[Atoms]) -> Model:
    """The model of this name; charges that it needs are the initial charges of the atoms."""
    record = model_record(name)
    given = {}
    if record.needs == ("p0",):
        import numpy as np
        import torch

        charges = [a.arrays.get("initial_charges", a.arrays.get("charges")) for a in atoms]
        found = [q for q in charges if q is not None]
        if len(found) < len(atoms):
            raise ValueError(
                f"`--model {name}` takes its charges from the file, got none for some structure; give initial charges "
                f"(in extended xyz: the column initial_charges)"
            )
        given["p0"] = torch.from_numpy(np.concatenate(found))
    elif record.needs:
        needs = ", ".join(record.needs)
        raise ValueError(f"`--model {name}` needs {needs}, which only Python can give: {record.maker}(...)")
    made: Model = getattr(import_module(record.module), record.maker)(**given)
    return made


def _write(path: Path, atoms: Atoms, solution: Solution, append: bool) -> None:
    from ase.io import write

    from cgdft.ase import annotated

    write(path, annotated(atoms, solution), format="extxyz", append=append)


def _progress() -> Progress:
    from rich.console import Console
    from rich.progress import Progress

    return Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def _print(what: Any) -> None:
    """A table at the terminal's width; whole and without control codes elsewhere."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 200).print(what)
