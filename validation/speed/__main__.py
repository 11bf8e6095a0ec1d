"""The command: `python -m cgdft.validation.speed`."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

from cgdft.validation.speed import figure, reference, table
from cgdft.validation.speed.peers import OURS, PEERS, VARIABLE, Code, Limits, Row, run
from cgdft.validation.speed.systems import System, nearest, salt, salt_cells, thick_slab, water, wide_slab

SIZES = (64, 512, 4096, 32768, 110592)
QUICK = (64, 512)
TESTS = ("qeq", "fixed")
WIDTH = 110  # of tables in files
#: Whose iterations are counted beside the salt's; a slab grows sideways or thicker.
FAMILIES = {"water": water, "wide slab": wide_slab, "thick slab": thick_slab}


def measure(
    sizes: Sequence[int],
    codes: Sequence[Code],
    limits: Limits,
    python: str | None = None,
    tests: Sequence[str] = TESTS,
    families: Sequence[str] = tuple(FAMILIES),
) -> Iterator[Row]:
    """Every code on every system, smallest first; a code that failed at one size is not tried at larger ones.

    Args:
        sizes: numbers of atoms of the salt (8 n^3), and nearly those of the other families.
        codes: which.
        limits: of each process.
        python: interpreter of the peers.
        tests: "qeq", "fixed".
        families: keys of `FAMILIES`: systems on which cgdft alone is measured.
    """
    gone: dict[tuple[str, str], int] = {}
    for system in (salt(salt_cells(atoms)) for atoms in sorted(sizes)):
        for test in tests:
            rows = []
            for code in codes:
                if test in code.tests:
                    rows.append(_unless_gone(gone, code, test, system, limits, python))
            _compare(rows, test, system)
            yield from rows
    if OURS in codes and "qeq" in tests:
        for family in families:
            for system in _family(family, sizes):
                yield _unless_gone(gone, OURS, "qeq", system, limits, python)


def _family(name: str, sizes: Sequence[int]) -> Iterator[System]:
    for atoms in sorted(sizes):
        system = nearest(FAMILIES[name], atoms)
        yield System(name, system.numbers, system.positions, system.box, system.pbc)


def _unless_gone(
    gone: dict[tuple[str, str], int], code: Code, test: str, system: System, limits: Limits, python: str | None
) -> Row:
    key = (code.name, f"{test} {system.name}")
    if key in gone:
        return Row(test, system.name, len(system), code.name, skipped=f"not tried, see {gone[key]} atoms")
    row = run(code, test, system, limits, python)
    if row.skipped:
        gone[key] = len(system)
    return row


def _compare(rows: Iterable[Row], test: str, system: System) -> None:
    """Errors against the converged answer, which is computed if a code has finished."""
    found = [row for row in rows if row.forces is not None]
    if not found or len(system) > reference.LARGEST:
        return
    exact = reference.solve(system) if test == "qeq" else reference.fixed_charges(system)
    for row in found:
        assert row.charges is not None
        assert row.forces is not None
        row.charge_error = float(np.abs(row.charges - exact.charges).max()) if test == "qeq" else None
        row.force_error = float(np.linalg.norm(row.forces - exact.forces) / np.linalg.norm(exact.forces))
        row.charges = row.forces = None


def _codes(text: str) -> list[Code]:
    known = {code.name: code for code in PEERS}
    if text in ("all", "none"):
        return [OURS, *(PEERS if text == "all" else ())]
    wrong = [name for name in text.split(",") if name not in known]
    if wrong:
        raise argparse.ArgumentTypeError(f"must be 'all', 'none' or some of {', '.join(known)}, got {', '.join(wrong)}")
    return [OURS, *(known[name] for name in text.split(","))]


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(word) for word in text.split(",")]
        for atoms in sizes:
            salt_cells(atoms)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be numbers 8 n^3 (64,512,4096,32768,110592,1000000), got {text}") from None
    return sizes


def _some(choices: Sequence[str]) -> Callable[[str], list[str]]:
    def words_of(text: str) -> list[str]:
        words = [] if text == "none" else text.split(",")
        if wrong := [word for word in words if word not in choices]:
            raise argparse.ArgumentTypeError(f"must be some of {', '.join(choices)}, got {', '.join(wrong)}")
        return words

    return words_of


def _arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cgdft.validation.speed", description=__doc__)
    parser.add_argument("--sizes", type=_sizes, default=list(SIZES), help="atoms of the salt, 8 n^3, comma-separated")
    parser.add_argument("--quick", action="store_true", help=f"the sizes {', '.join(map(str, QUICK))}")
    parser.add_argument("--peers", type=_codes, default=_codes("all"), help="'all', 'none', or names, comma-separated")
    parser.add_argument("--tests", type=_some(TESTS), default=list(TESTS), help="qeq,fixed")
    parser.add_argument("--families", type=_some(tuple(FAMILIES)), default=list(FAMILIES), help="more systems for cgdft")
    parser.add_argument("--threads", type=int, default=1, help="of each code")
    parser.add_argument("--timeout", type=float, default=600.0, help="seconds for one code on one system")
    parser.add_argument("--memory", type=float, default=12.0, help="GB that one code may use; 0: no limit")
    parser.add_argument("--python", help=f"interpreter of an environment with the peers; default: ${VARIABLE}, or this one")
    parser.add_argument("--output", type=Path, help="a folder for speed.json and speed.png")
    chosen = parser.parse_args(words)
    if chosen.threads < 1:
        parser.error(f"--threads must be at least 1, got {chosen.threads}")
    return chosen


def main(words: Sequence[str] | None = None) -> None:
    """Measure, print, and save where asked."""
    chosen = _arguments(words)
    console, progress = Console(), Console(stderr=True)
    if not console.is_terminal:
        console = Console(width=WIDTH)
    limits = Limits(chosen.threads, chosen.timeout, chosen.memory)
    sizes = QUICK if chosen.quick else chosen.sizes
    rows = []
    for row in measure(sizes, chosen.peers, limits, chosen.python, chosen.tests, chosen.families):
        rows.append(row)
        what = row.skipped or f"{row.cpu_s:.3g} s"
        progress.print(f"{row.test} {row.system} {row.atoms} {row.code}: {what}", markup=False, highlight=False)
        if chosen.output is not None:  # kept after every measurement: a long run may be interrupted
            chosen.output.mkdir(parents=True, exist_ok=True)
            (chosen.output / "speed.json").write_text(json.dumps(table.as_dict(rows, chosen.threads), indent=1))
    table.show(rows, chosen.threads, console)
    if chosen.output is not None:
        figure.picture(rows, chosen.threads).savefig(chosen.output / "speed.png", dpi=150)


if __name__ == "__main__":
    main()
