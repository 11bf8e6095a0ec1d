"""Train on published sets and compare: `python -m cgdft.validation.published FOLDER [SETS ...]`."""

from __future__ import annotations

import argparse
import itertools
import json
from pathlib import Path

import torch

from cgdft.learning.architectures import names
from cgdft.validation.published.charged_dimers import Dimer
from cgdft.validation.published.reporting import SETS, Known, Results, markdown, page, table
from cgdft.validation.published.training import trained
from cgdft.writing import write_whole

STORED = Path(__file__).with_name("results.json")


def main(arguments: list[str] | None = None) -> None:
    """Print a table per set, and write results and report after each training."""
    parser = argparse.ArgumentParser(prog="python -m cgdft.validation.published", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="that holds the folders of the sets")
    # [] is what argparse checks against the choices where none is given.
    parser.add_argument(
        "sets", nargs="*", choices=[[], *SETS], metavar="SETS", help=f"of {', '.join(SETS)}; default all that are there"
    )
    parser.add_argument("--architectures", nargs="+", default=list(names()), choices=names())
    parser.add_argument("--epochs", type=int, help="default that of each set")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of weights and of the order of frames")
    parser.add_argument(
        "--output", type=Path, default=Path("published"), help="of .json and .html; trainings that are in it are not repeated"
    )
    parser.add_argument("--stored", action="store_true", help="print the page of the results that come with the package")
    stated = parser.parse_args(arguments)
    if stated.stored:
        print(markdown(json.loads(STORED.read_text())), end="")
        return
    if stated.folder is None:
        parser.error("`folder` must be where the sets are, got none")
    path = stated.output.with_suffix(".json")
    results: Results = json.loads(path.read_text()) if path.exists() else {}
    known: Known = {}
    torch.set_num_threads(1)
    for name in stated.sets or SETS:
        one = SETS[name]
        if missing := one.absent(stated.folder):
            print(missing)
            continue
        parts = one.parts(stated.folder / one.folder)
        known |= {part.pair: part.curve.known for part in parts if isinstance(part, Dimer)}
        rows, epochs = results.setdefault(name, {}), stated.epochs or one.epochs
        for architecture, seed in itertools.product(stated.architectures, stated.seeds):
            row = rows[architecture] = [done for done in rows.get(architecture, ()) if done["epochs"] == epochs]
            if seed not in [done["seed"] for done in row]:
                row.append(trained(one, parts, architecture, epochs, seed))
                write_whole(path, json.dumps(results, separators=(",", ":")))
        print(f"{one.title}\n{table(name, rows)}\n", flush=True)
    if results:
        write_whole(stated.output.with_suffix(".html"), page(results, known))


if __name__ == "__main__":
    main()
