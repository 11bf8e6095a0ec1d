"""The codes, each started in a process of its own; one that is not there, fails or takes too long is skipped with the reason.

Peers may live in another environment: its interpreter is named by `python`, or by the environment variable
CGDFT_PEERS_PYTHON (Python 3.11 or later), and needs numpy, and vesin for some, but not cgdft.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from cgdft.validation.speed import fixed, qeq
from cgdft.validation.speed.systems import Array, System, salt

VARIABLE = "CGDFT_PEERS_PYTHON"
#: Puts the folder of `adapters` on the path for just that import: other files of it have names that packages have too.
START = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); import adapters; del sys.path[0]; import adapters.child as c; c.main()"
)


@dataclass(frozen=True)
class Code:
    """A code: its name in tables, the file of `adapters` that runs it, the tests it takes part in."""

    name: str
    module: str
    tests: tuple[str, ...]


OURS = Code("cgdft", "run_cgdft", ("qeq", "fixed"))
PEERS = (
    Code("lammps", "run_lammps", ("qeq", "fixed")),
    Code("openmm", "run_openmm", ("qeq", "fixed")),
    Code("torch-admp", "run_torch_admp", ("qeq",)),
    Code("torch-pme", "run_torch_pme", ("fixed",)),
    Code("nvalchemi", "run_nvalchemi", ("fixed",)),
)


@dataclass(frozen=True)
class Limits:
    """Of one process: threads, seconds, GB (0: no limit)."""

    threads: int = 1
    seconds: float = 600.0
    memory: float = 12.0


@dataclass(eq=False)
class Row:
    """One measurement.

    Attributes:
        test: "qeq" or "fixed".
        system: family of the structure.
        atoms: number of them.
        code: name of the code.
        skipped: why there are no figures, or "".
        cpu_s: median CPU time of all threads, s.
        wall_s: median wall time, s.
        repeats: runs in these medians.
        memory_mb: peak memory above that after the imports, MB.
        iterations: of the solver, where the code tells.
        charge_error: largest, e, against the reference.
        force_error: relative, root of mean squares, against the reference.
        stress: whether it was computed too.
        version: of the code.
        settings: of the code.
    """

    test: str
    system: str
    atoms: int
    code: str
    skipped: str = ""
    cpu_s: float | None = None
    wall_s: float | None = None
    repeats: int | None = None
    memory_mb: float | None = None
    iterations: int | None = None
    charge_error: float | None = None
    force_error: float | None = None
    stress: bool = False
    version: str = ""
    settings: str = ""
    charges: Array | None = field(default=None, repr=False)
    forces: Array | None = field(default=None, repr=False)

    def figures(self) -> dict[str, Any]:
        """Everything but the arrays, for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("charges", "forces")}


def interpreter(python: str | None = None) -> str:
    """The interpreter of the peers: the argument, the environment variable, or this one."""
    return python or os.environ.get(VARIABLE) or sys.executable


def run(code: Code, test: str, system: System, limits: Limits, python: str | None = None) -> Row:
    """Measure one code on one system.

    Args:
        code: which.
        test: "qeq" or "fixed".
        system: the atoms.
        limits: of the process.
        python: interpreter of the peers.
    """
    row = Row(test, system.name, len(system), code.name)
    if code is not OURS and not all(system.pbc):
        row.skipped = "compared on the salt only"
        return row
    executable = sys.executable if code is OURS else interpreter(python)
    with tempfile.TemporaryDirectory() as folder:
        files = [os.path.join(folder, name) for name in ("small.npz", "task.npz", "answer.npz")]
        _write(files[0], salt(4))  # large enough for the methods of large systems
        _write(files[1], system)
        words = [code.module, test, *files[:2], str(limits.threads), str(limits.memory), files[2]]
        command = [executable, "-P", "-c", START, str(Path(__file__).parent), *words]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=limits.seconds, env=_environment(executable, limits.threads)
            )
        except subprocess.TimeoutExpired:
            row.skipped = f"no answer within {limits.seconds:g} s"
            return row
        except OSError as error:
            row.skipped = f"`python` must be an interpreter, got {executable!r}: {error.strerror}"
            return row
        if done.returncode != 0:
            last = (done.stderr.strip().splitlines() or [f"ended with code {done.returncode}"])[-1]
            row.skipped = f"failed: {last[:300]}"
            return row
        for name, value in json.loads(done.stdout.strip().splitlines()[-1]).items():
            setattr(row, name, value)
        if not row.skipped:
            with np.load(files[2]) as answer:
                row.charges, row.forces = answer["charges"], answer["forces"]
    return row


def _write(path: str, system: System) -> None:
    salty = bool(np.isin(system.numbers, (11, 17)).all())
    np.savez(
        path,
        numbers=system.numbers,
        positions=system.positions,
        box=system.box,
        pbc=np.array(system.pbc),
        chi=qeq.per_atom(qeq.CHI, system),
        hardness=qeq.per_atom(qeq.HARDNESS, system),
        charges=fixed.charges(system) if salty else np.zeros(len(system)),
        sigma=qeq.SIGMA,
    )


def _environment(executable: str, threads: int) -> dict[str, str]:
    """One number of threads for everything, and the library folder of the environment, where the mpich wheel puts MPI."""
    counts = ("OMP", "MKL", "OPENBLAS", "NUMBA", "NUMEXPR", "VECLIB_MAXIMUM")
    environment = {**os.environ, **{f"{name}_NUM_THREADS": str(threads) for name in counts}}
    folders = [str(Path(executable).parent.parent / "lib"), *filter(None, [os.environ.get("LD_LIBRARY_PATH")])]
    environment["LD_LIBRARY_PATH"] = os.pathsep.join(folders)
    return environment
