"""A validation from structures to report: references (computed in parallel, kept), comparison, table, HTML."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from cgdft.validation import suites
from cgdft.validation.campaigns.point import Point
from cgdft.validation.campaigns.results import Results, cores, gather
from cgdft.validation.campaigns.workers import on_processes
from cgdft.validation.definitions import Hirshfeld, usual
from cgdft.validation.report.compare import Comparison, ModelLike, compare

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["references", "report", "suite_results", "validate"]


def validate(
    structures: Sequence[tuple[str, Atoms]],
    models: Sequence[ModelLike],
    method: str = "pbe/def2-svp",
    html: str | os.PathLike[str] | None = None,
    progress: bool = True,
    threads: int | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Comparison:
    """Compare models with references from DFT on many molecules or crystals.

    References that are stored are not computed again. A reference that fails is named in `Comparison.failed` with its
    reason, and the rest goes on; interrupted, what is finished is stored.

    Args:
        structures: (name, structure); total charge from atoms.info["charge"] or initial charges, unpaired electrons from
            atoms.info["spin"] or initial magnetic moments.
        models: models, or callables reference -> model, as for `compare`.
        method: "xc/basis" of PySCF.
        html: a file for a report with figures.
        progress: show a bar, if stderr is a terminal.
        threads: references computed at a time, each by a process with one thread; default: one per processor core.
        cache: folder of stored references; default as for `reference`.

    Raises:
        ValueError: no structures or models, a name given twice, or a folder for `html` that does not exist.
        TypeError: what is no model.
    """
    _check(models, html)
    return report(references(structures, method, progress, threads, cache), models, html)


def references(
    structures: Sequence[tuple[str, Atoms]],
    method: str,
    progress: bool = True,
    threads: int | None = None,
    cache: str | os.PathLike[str] | None = None,
    definition: str | None = None,
) -> Results:
    """Their references, stored or computed by processes of this machine; arguments as for `validate`.

    With the multipoles of one more definition beside Hirshfeld's, where it is named.
    """
    names = [name for name, _ in structures]
    if not names:
        raise ValueError("`structures` must hold at least one, got none")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"`structures` must have different names, got {', '.join(twice)} more than once")
    first = Hirshfeld()
    wanted = (first,) if definition in (None, first.name) else (first, usual(str(definition)))
    points = [Point(atoms, None, None, None, method, name, wanted) for name, atoms in structures]
    return _computed(points, progress, threads, cache)


def suite_results(
    suite: str,
    method: str | None = None,
    progress: bool = True,
    threads: int | None = None,
) -> Results:
    """Results of a suite, or of an HDF5 file of `cgdft reference`: as stored, or computed, as with another `method`."""
    if suite.endswith((".h5", ".hdf5")):
        if method is not None:
            raise ValueError(f"`method` must be left out for stored results, got {method} for {suite}")
        return Results.load(suite)
    points = suites.load(suite)
    path = suites.stored(suite)
    if path is not None and method is None:
        return Results.load(path)
    if method is not None:
        points = [point._replace(method=method) for point in points]
    return _computed(points, progress, threads, None)


def report(
    results: Results,
    models: Sequence[ModelLike],
    html: str | os.PathLike[str] | None = None,
    suite: str = "",
    definition: str | None = None,
) -> Comparison:
    """Compare models with results that are there, such as `Results.load` gives.

    Args:
        results: of a campaign.
        models, html: as for `validate`.
        suite: its name in the report.
        definition: of the charges compared with, as for `compare`.
    """
    found = compare(models, results.references, definition) if results.references else Comparison({}, ())
    result = replace(found, failed={**results.failed, **found.failed}, suite=suite, definition=definition)
    if html is not None:
        result.html(html)
    results.warn()
    return result


def _computed(points: Sequence[Point], progress: bool, threads: int | None, cache: str | os.PathLike[str] | None) -> Results:
    if threads is not None and threads < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}")
    return gather(points, partial(on_processes, workers=threads or cores()), cache, progress=progress)


def _check(models: Sequence[ModelLike], html: str | os.PathLike[str] | None) -> None:
    if not models:
        raise ValueError("`models` must hold at least one, got none")
    for model in models:
        if not callable(model):
            raise TypeError(f"`models` must be cgdft.Model objects, or callables reference -> Model, got {model!r}")
    if html is not None and not Path(html).parent.is_dir():
        raise ValueError(f"`html` must be in a folder that exists, got {os.fspath(html)}")
