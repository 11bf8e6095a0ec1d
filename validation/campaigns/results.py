"""Reference campaigns: many calculations, side by side, that survive being killed; their results in one file."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import sys
import warnings
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cgdft.validation.campaigns.cluster import on_cluster
from cgdft.validation.campaigns.point import named
from cgdft.validation.dft.cache import CorruptCache, cache_folder, read_records, writable, write_records
from cgdft.validation.dft.reference import Reference, recall
from cgdft.validation.dft.request import Request
from cgdft.writing import write_whole

#: Failures of the machine and not of a calculation, which are not kept.
PASSING = re.compile(
    r"(OSError|MemoryError|(Permission|FileNotFound|BrokenPipe|Timeout|Connection\w*|CommClosed)Error)\b|its result was lost"
)
#: Computes requests, the costly ones first, leaves results in a folder and yields (name, reason of failure or "").
Compute = Callable[[Mapping[str, Request], Path], Generator[tuple[str, str]]]


@dataclass(frozen=True, eq=False)
class Results:
    """What became of a suite: references by name, and why the others have none, in the suite's order."""

    references: Mapping[str, Reference]
    failed: Mapping[str, str]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write one HDF5 file, whole or not at all."""
        fields = [entry.name for entry in dataclasses.fields(Reference)]
        records = {name: {field: getattr(one, field) for field in fields} for name, one in self.references.items()}
        about = {
            "failed": dict(self.failed),
            "cgdft": version("cgdft"),
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        write_records(path, records, about)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Results:
        """Read a file written by `save`; raises `CorruptCache` if it is truncated, edited or of another kind."""
        records, about = read_records(path)
        try:
            return cls({name: Reference(**record) for name, record in records.items()}, about["failed"])
        except (TypeError, KeyError) as error:
            raise CorruptCache(f"`path` must hold the results of a suite, got {path}: {error}") from error

    def warn(self) -> None:
        """A warning for each doubt about a reference, by its name."""
        for name, one in self.references.items():
            for doubt in one.doubts:
                warnings.warn(f"{name}: {doubt}", stacklevel=3)

    def export(self, path: str | os.PathLike[str]) -> Path:
        """Write extended xyz in ASE's units: energies, forces, multipoles, dipole, polarizability, settings."""
        from cgdft.validation.campaigns.export import write_extxyz

        return write_extxyz(self.references, path)


def campaign(
    suite: Iterable[object],
    output: str | os.PathLike[str],
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    retry: bool = False,
    progress: bool = True,
    cache: str | os.PathLike[str] | None = None,
) -> Results:
    """Compute what a suite asks for and write it to one HDF5 file.

    Each result is kept as soon as it is there: killed and started again, a campaign computes only what is missing. A
    calculation that fails is recorded with its reason and the rest goes on; a worker that dies is replaced. In a script, guard
    the call by the usual test of `__name__`, since workers import the script.

    Args:
        suite: each entry a `Point`, or a tuple (structure, charge, spin, field, method).
        output: the HDF5 file.
        workers: processes of this machine, with one thread each; default as many as processor cores, or as calculations.
        scheduler: address of a Dask scheduler to be used instead.
        retry: try again what failed before.
        progress: show a bar with the time left, if stderr is a terminal.
        cache: folder of single results; default as for `reference`.

    Raises:
        ValueError, TypeError: a suite that is none.
    """
    points = named(suite)
    if not points:
        raise ValueError("`suite` must hold at least one entry, got none")
    if workers is not None and workers < 1:
        raise ValueError(f"`workers` must be at least 1, got {workers}")
    output = Path(output)
    if not output.parent.is_dir():
        raise ValueError(f"`output` must be in a folder that exists, got {output}")
    most = workers or max(1, min(cores(), len(points)))
    results = gather(
        list(points.values()), partial(on_cluster, workers=most, scheduler=scheduler), cache, retry=retry, progress=progress
    )
    if results.references or not output.exists():  # nothing does not take the place of something
        results.save(output)
    results.warn()
    return results


def gather(
    suite: Iterable[object],
    compute: Compute,
    cache: str | os.PathLike[str] | None = None,
    *,
    retry: bool = True,
    progress: bool = True,
) -> Results:
    """The answers to a suite: those that are stored, and the others from `compute`. A failure is kept too, unless `retry`."""
    folder = cache_folder(cache)
    kept: dict[str, Reference] = {}
    failed: dict[str, str] = {}
    requests: dict[str, Request] = {}
    missing: dict[str, Request] = {}
    points = named(suite)
    names = list(points)
    for name, point in points.items():
        try:
            request = requests[name] = point.request()
        except (ValueError, TypeError) as error:
            failed[name] = f"{type(error).__name__}: {error}"
            continue
        if (found := recall(request, folder)) is not None:
            kept[name] = found
        elif not retry and (reason := _kept_failure(request, folder)):
            failed[name] = reason
        else:
            missing[name] = request
    costly_first = dict(sorted(missing.items(), key=lambda entry: -cost(entry[1])))
    if costly_first:
        writable(folder)
        with _bar(progress) as bar:
            whole = sum(map(cost, requests.values()))
            task = bar.add_task(
                "references",
                total=whole,
                completed=whole - sum(map(cost, missing.values())),
                done=len(names) - len(missing),
                of=len(names),
            )
            done = compute(costly_first, folder)
            try:
                for name, reason in done:
                    request = missing[name]
                    answer = None if reason else recall(request, folder)
                    if answer is None:
                        failed[name] = reason or "its result was lost"
                        if not PASSING.match(failed[name]):
                            _keep_failure(request, folder, failed[name])
                    else:
                        kept[name] = answer
                    bar.update(task, advance=cost(request), done=len(kept) + len(failed))
            finally:
                done.close()
    ordered = {name: kept[name] for name in names if name in kept}
    return Results(ordered, {name: failed[name] for name in names if name in failed})


def cost(request: Request) -> float:
    """Relative: a power of the electrons between two and three, more with response; only ratios matter."""
    valence = float(request.numbers.sum() - request.charge)
    perturbed = 4 * len(request.numbers) if request.response else 3 * request.polarizability
    return (valence + 5.0) ** 2.5 * (1 + 0.3 * perturbed)


def cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _failure_path(request: Request, folder: Path) -> Path:
    return request.path(folder).with_suffix(".failed.json")


def _keep_failure(request: Request, folder: Path, reason: str) -> None:
    told = {"reason": reason, "date": datetime.now(UTC).isoformat(timespec="seconds")}
    write_whole(_failure_path(request, folder), json.dumps(told))


def _kept_failure(request: Request, folder: Path) -> str:
    """Why a request failed before; nothing where that is not told, or damaged."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        return str(json.loads(_failure_path(request, folder).read_text())["reason"])
    return ""


def _bar(progress: bool) -> Any:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    return Progress(
        TextColumn("{task.description} {task.fields[done]} of {task.fields[of]}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left:"),
        TimeRemainingColumn(),
        console=Console(stderr=True),
        transient=True,
        speed_estimate_period=1e6,  # the mean since the start: calculations take minutes
        disable=not (progress and sys.stderr.isatty()),
    )
