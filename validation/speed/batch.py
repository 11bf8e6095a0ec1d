"""Many molecules in one call against one by one: `python -m cgdft.validation.speed.batch`."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
from ase.build import molecule
from ase.collections import g2

from cgdft.functionals.models.qeq import PARAMETERS, QEq
from cgdft.structure import Structure


def median_time(run: Callable[[], object], repeats: int) -> float:
    """Median wall time of `run`, s, after one call to warm up."""
    run()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def batch(n: int = 256) -> dict[str, float]:
    """QEq charges, energies and forces of n molecules of ASE's g2 set, in one call and one by one.

    Returns:
        Seconds of both, and their ratio.
    """
    molecules = {name: molecule(name).get_chemical_symbols() for name in g2.names}
    names = [name for name, symbols in molecules.items() if len(symbols) > 2 and set(symbols) <= PARAMETERS.keys()]
    single = [Structure.from_ase(molecule(name)) for name in (names * (n // len(names) + 1))[:n]]
    together, model = Structure.batch(single), QEq()
    in_one = median_time(lambda: model(together).forces(), 5)
    one_by_one = median_time(lambda: [model(structure).forces() for structure in single], 2)
    error = max(
        float((torch.cat([model(s).forces() for s in single]) - model(together).forces()).abs().max()),
        float((torch.cat([model(s).charges for s in single]) - model(together).charges).abs().max()),
    )
    return {"in one call (s)": in_one, "one by one (s)": one_by_one, "ratio": one_by_one / in_one, "largest difference": error}


def main() -> None:
    """Print both times and their ratio."""
    print(f"{torch.get_num_threads()} thread(s)")
    figures = batch()
    print("256 molecules of the g2 set, QEq charges and forces:")
    for name, value in figures.items():
        print(f"  {name:20} {value:.3g}")


if __name__ == "__main__":
    main()
