"""A validation from structures to report: references (computed in parallel, kept), comparison, table, HTML."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cgdft.validation import workers
from cgdft.validation.cache import CorruptCache
from cgdft.validation.compare import Comparison, ModelLike, compare
from cgdft.validation.reference import Reference, cached, reference
from cgdft.validation.suite import suite

if TYPE_CHECKING:
    from ase import Atoms

__all__ = ["suite", "validate"]


def validate(
    structures: Sequence[tuple[str, Atoms]],
    models: Sequence[ModelLike],
    method: str = "pbe/def2-svp",
    html: str | os.PathLike[str] | None = None,
    progress: bool = True,
    threads: int | None = None,
    cache: str | os.PathLike[str] | None = None,
) -> Comparison:
    """Compare models with references from DFT on many molecules.

    Arguments:
        structures: (name, molecule); total charge from atoms.info["charge"] or initial charges, unpaired electrons from
            atoms.info["spin"] or initial magnetic moments.
        models: models, or callables reference -> model, as for `compare`.
        method: "xc/basis" of PySCF.
        html: a file for a report with figures.
        progress: show a bar, if stderr is a terminal.
        threads: references computed at a time, each by a process with one thread; default: one per processor core.
        cache: folder of stored references; default as for `reference`.

    References that are stored are not computed again. A reference that fails is named in `Comparison.failed` with its
    reason, and the rest goes on; interrupted, what is finished is stored. Raises ValueError for no structures or
    models, a name given twice, or a folder for `html` that does not exist; TypeError for what is no model.
    """
    names = [name for name, _ in structures]
    _check(names, models, threads, html)
    kept: dict[str, Reference] = {}
    failed: dict[str, str] = {}
    missing: dict[str, dict[str, Any]] = {}
    for name, atoms in structures:
        try:
            spin = _spin(atoms)
            if (found := _stored(atoms, method, spin, cache)) is not None:
                kept[name] = found
                continue
        except (ValueError, TypeError) as error:
            failed[name] = f"{type(error).__name__}: {error}"
            continue
        missing[name] = _request(atoms, method, spin, cache)
    costly_first = sorted(missing, key=lambda name: len(missing[name]["numbers"]), reverse=True)
    done = workers.compute({name: missing[name] for name in costly_first}, threads or _cores())
    with _bar(progress) as bar:
        task = bar.add_task(f"references, {method}", total=len(names), completed=len(kept) + len(failed))
        try:
            for name, reason in done:
                if reason:
                    failed[name] = reason
                else:
                    one = missing[name]
                    kept[name] = reference(dict(structures)[name], method, spin=one["spin"], threads=1, cache=cache)
                bar.advance(task)
        finally:
            done.close()
    references = {name: kept[name] for name in names if name in kept}
    scores = compare(models, references).scores if references else ()
    result = Comparison(references, scores, {name: failed[name] for name in names if name in failed})
    if html is not None:
        result.html(html)
    return result


def _check(names: Sequence[str], models: Sequence[ModelLike], threads: int | None, html: str | os.PathLike[str] | None) -> None:
    for what, given in (("structures", names), ("models", models)):
        if not given:
            raise ValueError(f"`{what}` must hold at least one, got none")
    for model in models:
        if not callable(model):
            raise TypeError(f"`models` must be cgdft.Model objects, or callables reference -> Model, got {model!r}")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"`structures` must have different names, got {', '.join(twice)} more than once")
    if threads is not None and threads < 1:
        raise ValueError(f"`threads` must be at least 1, got {threads}")
    if html is not None and not Path(html).parent.is_dir():
        raise ValueError(f"`html` must be in a folder that exists, got {os.fspath(html)}")


def _stored(atoms: Atoms, method: str, spin: int | None, cache: str | os.PathLike[str] | None) -> Reference | None:
    path = cached(atoms, method, spin=spin, cache=cache)
    try:
        return None if path is None else Reference.load(path)
    except (CorruptCache, FileNotFoundError):
        return None  # the worker says so in its log and computes it again


def _request(atoms: Atoms, method: str, spin: int | None, cache: str | os.PathLike[str] | None) -> dict[str, Any]:
    """The line that a worker reads; numbers survive JSON to the last digit."""
    charge = atoms.info.get("charge", float(atoms.get_initial_charges().sum()))
    return {
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "method": method,
        "charge": round(float(charge)),  # `cached` has seen that it is whole
        "spin": spin,
        "cache": None if cache is None else os.fspath(cache),
    }


def _spin(atoms: Atoms) -> int | None:
    """Unpaired electrons as the structure states them, like `Structure.from_ase`; None where it does not."""
    stated = atoms.info.get("spin")
    if stated is None and atoms.has("initial_magmoms"):
        stated = abs(float(atoms.get_initial_magnetic_moments().sum()))
    if stated is None:
        return None
    if abs(float(stated) - round(float(stated))) > 1e-6:
        raise ValueError(f"`spin` must be a whole number of unpaired electrons, got {stated} from the structure")
    return round(float(stated))


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _bar(progress: bool) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not (progress and sys.stderr.isatty()),
    )
