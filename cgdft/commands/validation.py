"""The commands `cgdft validate` and `cgdft reference`. What is heavy to import is imported inside of them."""

from __future__ import annotations

import json as jsonlib
import sys
from pathlib import Path
from typing import Annotated

import typer

from cgdft.commands.chosen_model import Choice
from cgdft.commands.terminal import LAST, OF_MODEL, check_output, complain, models_and_files, read, show, suite_names


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
    ] = LAST,
    html: Annotated[Path | None, typer.Option(help="Write a report with figures to this file, and JSON beside it.")] = None,
    json: Annotated[bool, typer.Option("--json", help="JSON instead of a table.", show_default=False)] = False,
    threads: Annotated[int | None, typer.Option(help="Processor cores to use; default: all.")] = None,
) -> None:
    """Compare models with the densities of density-functional theory (PySCF)."""
    choices = [Choice(name) for name in model or []]
    check_output("--html", html, (".html", ".htm"), *(files or []), suite or "")
    if html is not None and not html.exists() and html.with_suffix(".json").exists():
        raise ValueError(f"`--html` must be a name without a file of JSON beside it, got {html} beside another's; remove it")
    if files and suite is not None:
        raise ValueError(f"`--suite` or FILE must be left out, got {suite} and {', '.join(files)}")
    structures = []
    for file in files or []:
        found = read(file, index)
        structures += [(f"{Path(file).stem}{f' {k}' if len(found) > 1 else ''}", atoms) for k, atoms in enumerate(found)]
    for one in choices:
        one.check([atoms for _, atoms in structures])

    from cgdft.validation import run
    from cgdft.validation.report import baselines

    if structures:
        results = run.references(structures, method or "pbe/def2-svp", sys.stderr.isatty(), threads, definition=definition)
    else:
        results = run.suite_results(suite or "small", method, sys.stderr.isatty(), threads)
    chosen = [one.for_references(results.references, dict(structures)) for one in choices] or baselines.demo_models(definition)
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
    from cgdft.validation.campaigns.results import campaign

    check_output("--output", output, (".h5", ".hdf5"), suite)
    check_output("--export", export, (".extxyz", ".xyz"), suite)
    points = suites.from_file(Path(suite)) if suite.endswith(".py") else suites.load(suite)
    path = output or Path(f"{Path(suite).stem}.h5")
    results = campaign(points, path, workers=workers, scheduler=scheduler, retry=retry)
    print(f"{path}: {len(results.references)} of {len(results.references) + len(results.failed)} calculations")
    for name, reason in results.failed.items():
        print(f"  {name} failed: {reason}")
    if export is not None and results.references:
        print(results.export(export))
    if results.failed:
        raise ValueError(f"{len(results.failed)} of {len(points)} calculations failed, see above")
