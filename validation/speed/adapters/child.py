"""Measure one code on one task, in a process of its own: time, memory above the import, answers.

What is timed is everything that follows from the positions: neighbour list, mesh, solve, energy, forces, from a cold start
each time. Not timed: the start of the process, imports, compilation (a small system is computed first), and handing over
the atoms. Units: angstrom, eV, e.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

ENOUGH = 2.0  # seconds of repeated runs after which their median is taken
MOST = 7  # repeats


@dataclass(frozen=True, eq=False)
class Task:
    """What to compute: positions (n, 3) and box (3,) in angstrom; chi and hardness (n,) in eV; sigma in angstrom.

    `charges` (n,), e, are those of the test with fixed charges.
    """

    numbers: Any
    positions: Any
    box: Any
    pbc: Any
    chi: Any
    hardness: Any
    charges: Any
    sigma: float
    threads: int

    def __len__(self) -> int:
        return len(self.numbers)

    def cutoff(self, most: float) -> float:
        """`most`, angstrom, and less than half of a small box, which some codes need."""
        return float(min(most, 0.499 * self.box.min()))


@dataclass(frozen=True, eq=False)
class Answer:
    """What a code found: charges (n,), e, forces (n, 3), eV / angstrom; iterations where it tells."""

    charges: Any
    forces: Any
    iterations: int | None = None
    stress: bool = False


Run = Callable[[], Answer]


def read(path: str, threads: int) -> Task:
    """A task from a file of arrays."""
    with np.load(path) as data:
        arrays = {name: data[name] for name in data.files}
    return Task(**{**arrays, "sigma": float(arrays["sigma"])}, threads=threads)


def resident(peak: bool = False) -> float:
    """Memory of this process now, or the most it had since the last call with `peak` false, MB."""
    if not os.path.exists("/proc/self/status"):
        return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / (2**20 if sys.platform == "darwin" else 2**10)
    if not peak:
        try:
            with open("/proc/self/clear_refs", "w") as file:
                file.write("5")  # forget the most so far; getrusage would still count the process that started this one
        except OSError:
            pass  # then imports that held more than they kept hide as much of the run's memory
    with open("/proc/self/status") as file:
        wanted = "VmHWM:" if peak else "VmRSS:"
        return next(float(line.split()[1]) / 1024 for line in file if line.startswith(wanted))


def measure(module: str, test: str, small: Task, task: Task) -> tuple[dict[str, Any], Answer]:
    """Times, memory and settings of one code on one task, and its answer."""
    code = importlib.import_module(f".{module}", __package__)
    prepare: Callable[[Task], Run] = getattr(code, test)
    prepare(small)()
    before = resident()
    cpu: list[float] = []
    wall: list[float] = []
    while True:
        run = prepare(task)
        start, start_wall = time.process_time(), time.perf_counter()
        answer = run()
        cpu.append(time.process_time() - start)
        wall.append(time.perf_counter() - start_wall)
        if len(cpu) == 1:
            peak = resident(peak=True)
        if sum(wall) > ENOUGH or len(cpu) == MOST:
            break
    figures = {
        "cpu_s": statistics.median(cpu),
        "wall_s": statistics.median(wall),
        "repeats": len(cpu),
        "memory_mb": max(0.0, peak - before),
        "iterations": answer.iterations,
        "stress": answer.stress,
        "version": code.version(),
        "settings": code.SETTINGS[test],
    }
    return figures, answer


def main() -> None:
    """Read the request in argv: module, test, files of the small and the real task, threads, limit (GB), file to write."""
    module, test, small, task, threads, limit, path = sys.argv[1:]
    if float(limit) > 0 and hasattr(resource, "RLIMIT_DATA"):
        most = int(float(limit) * 2**30)
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
    try:
        figures, answer = measure(module, test, read(small, int(threads)), read(task, int(threads)))
    except ImportError as error:
        print(json.dumps({"skipped": f"not installed: {error}"}))
        return
    except Exception as error:
        print(json.dumps({"skipped": f"failed: {type(error).__name__}: {' '.join(str(error).split())[:300]}"}))
        return
    np.savez(path, charges=answer.charges, forces=answer.forces)
    print(json.dumps(figures))
