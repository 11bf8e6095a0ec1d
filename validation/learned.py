"""The same network, data and budget, one physics after the other: `python -m cgdft.validation.learned silver carbon salt`.

Frames of a suite are divided by geometry: 70 % to train on, 10 % to stop by, 20 % for the errors that are reported; the same
geometry in two charge states is on the same side. Energies of free atoms are fitted to the composition, so that what is learnt
is as small as can be. Charges and dipoles of atoms (Hirshfeld) are labels wherever a model's own are meant to be those.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from cgdft.learning import Frame, MessagePassing
from cgdft.learning.architectures import about, learnt_from, make, names
from cgdft.learning.data.frames import Batch
from cgdft.learning.data.sets import FrameSet
from cgdft.learning.data.units import SHOWN
from cgdft.learning.training.config import Settings
from cgdft.learning.training.evaluation import evaluate
from cgdft.learning.training.trainer import Trainer
from cgdft.validation import suites
from cgdft.validation.report.prose import listed
from cgdft.validation.seeds import bars, best, cell
from cgdft.validation.suites import stored
from cgdft.writing import write_whole

LABELS = {"energy": 0.5, "forces": 1.0}
MULTIPOLES = {"multipoles": 0.3, "dipole": 0.3}
#: Published errors of charge equilibration with a neural network (4G) and of one without any charges (2G), for orientation:
#: meV/atom, meV/angstrom, me; T. W. Ko, J. A. Finkler, S. Goedecker, J. Behler, Nat. Commun. 12, 398 (2021).
PUBLISHED = {
    "silver": {"2G": (352.0, 1803.0, None), "4G": (1.323, 31.69, 9.976)},
    "carbon": {"2G": (1.619, 129.5, None), "4G": (1.194, 78.00, 6.577)},
    "salt": {"2G": (1.692, 57.39, None), "4G": (0.481, 32.78, 15.83)},
}
COLUMNS = {name: f"{name} ({SHOWN[name][0]})" for name in ("energy", "forces", "charges")}


def divided(frames: Sequence[Frame], seed: int = 0) -> tuple[list[Frame], list[Frame], list[Frame]]:
    """Frames to train, validate and test, by the number at the end of their names."""
    numbers = sorted({frame.name.split()[-1] for frame in frames}, key=int)
    order = np.random.default_rng(seed).permutation(len(numbers))
    place = {numbers[k]: rank / len(numbers) for rank, k in enumerate(order)}
    parts: tuple[list[Frame], list[Frame], list[Frame]] = ([], [], [])
    for frame in frames:
        at = place[frame.name.split()[-1]]
        parts[0 if at < 0.7 else 1 if at < 0.8 else 2].append(frame)
    return parts


def free_atoms(frames: Sequence[Frame]) -> dict[str, float]:
    """Energies of elements, hartree, by least squares; those of smallest norm where compositions leave some undetermined."""
    elements = sorted({symbol for frame in frames for symbol in frame.structure.symbols})
    counts = np.array([[frame.structure.symbols.count(element) for element in elements] for frame in frames], dtype=float)
    energies = np.array([float(frame.labels["energy"]) for frame in frames])
    return dict(zip(elements, np.linalg.lstsq(counts, energies, rcond=None)[0].tolist(), strict=True))


def network(train: Sequence[Frame], elements: Sequence[str], seed: int) -> MessagePassing:
    """The one of every physics: 16 channels, sums over neighbours divided by how many atoms have in these frames."""
    pairs = Batch.of(train, [MessagePassing(list(elements), channels=1).cutoff])
    neighbours = max(1.0, len(next(iter(pairs.pairs.values()))[0]) / pairs.structure.n_atoms)
    torch.manual_seed(seed)
    return MessagePassing(list(elements), channels=16, neighbours=neighbours)


def learnt(frames: Sequence[Frame], architecture: str, epochs: int, seed: int = 0, *, latent: bool = False) -> dict[str, Any]:
    """Errors on the frames that were not seen, of one architecture, and what it took.

    Args:
        latent: whether energies and forces alone are labels, as those are trained always whose charges are nobody's.
    """
    latent = latent or bool(learnt_from(architecture))
    train, validation, test = divided(frames)
    atoms = free_atoms(train)
    environment = network(train, list(atoms), seed)
    model = make(architecture, environment, atoms)
    settings = Settings(
        weights=LABELS if latent else LABELS | MULTIPOLES,
        schedule={"implicit": epochs},
        batch_size=8,
        learning_rate=1e-2,
        patience=epochs,
        seed=seed,
    )
    start = time.perf_counter()
    trained = Trainer(model, train, validation, settings).run()
    seconds = time.perf_counter() - start
    wanted = ["energy", "forces"] if latent else ["energy", "forces", "multipoles", "dipole"]
    found = evaluate(trained.model, [Batch.of(test[k : k + 16]) for k in range(0, len(test), 16)], wanted).to_dict()
    weights = sum(p.numel() for p in model.parameters())
    took = {"train": len(train), "epochs": epochs, "best epoch": trained.epoch, "weights": weights, "seconds": seconds}
    return {**found, **took, "seed": seed}


def errors(row: Sequence[dict[str, Any]], column: str) -> list[float]:
    """Root mean square errors of all seeds of an architecture."""
    return [one["errors"][column]["rmse"] for one in row if column in one["errors"]]


#: Suite -> architecture -> what `learnt` gives for each seed.
Results = dict[str, dict[str, list[dict[str, Any]]]]


def table(results: Results) -> str:
    """All errors, published ones beside."""
    lines = []
    for suite, rows in results.items():
        lines.append(f"{suite}: {next(iter(rows.values()))[0]['train']} frames to train on")
        lines.append(f"  {'':<16}" + "".join(f"{head:>24}" for head in COLUMNS.values()))
        for name, row in rows.items():
            lines.append(f"  {name:<16}" + "".join(f"{cell(errors(row, column)):>24}" for column in COLUMNS))
        for name, published in PUBLISHED.get(suite, {}).items():
            text = "".join(f"{'' if v is None else f'{v:.3g}':>24}" for v in published)
            lines.append(f"  {f'({name}, published)':<16}{text[2:]}")
    return "\n".join(lines)


MARKDOWN = """# Learnt functionals, side by side

{about}

`python -m cgdft.validation.learned --stored` prints this page from the results that come with the package; with names of suites
it trains anew. The physics, each a file of `cgdft.learning.architectures`:

{physics}

{tables}

Below each table is who has the smallest error on average. Level with it are those whose seeds reach into its range; where one
of both has a single seed, those within a third of it. In brackets: from the lowest to the highest seed.

Models without a total charge (les, local) can only give two charge states of the same positions, as of silver, their mean.
Where charges are functions of positions that share a total charge (local-charges, shared-charges), there is Coulomb energy
alone between the states. Told energies and forces alone ("latent"), a model has charges that are nobody's, as those of les.

Models with dipoles need dipoles that know the charge of their atom: `OffCentre` in the nonlinear functional, `SiteColumns` in
the response model, `Shares` in shared-response. A response needs an electronegativity as well, lest its susceptibility fade
(see [training](training.md)).

The last lines of tables: published errors of a network without charges (2G) and of charge equilibration (4G) on the original
sets (Ko 2021), for orientation; those were other frames, some hundred times as many.
"""


def shown(rows: Mapping[str, Sequence[dict[str, Any]]]) -> str:
    """Which architecture has the smallest error of each column, and which are level with it, in sentences."""
    told = []
    for column in COLUMNS:
        first, *level = best({name: errors(row, column) for name, row in rows.items()})
        beside = (
            f"; level with it {'is' if len(level) == 1 else 'are'} {listed([f'`{one}`' for one in level])}" if level else ""
        )
        told.append(f"Best in {column} is `{first}`{beside}.")
    return " ".join(told)


def markdown(results: Results) -> str:
    """The results as a page of the manual."""
    tables = []
    for suite, rows in results.items():
        lines = [f"## {suite}, {next(iter(rows.values()))[0]['train']} frames to train on", ""]
        lines += ["| physics | " + " | ".join(COLUMNS.values()) + " |", "| --- | --- | --- | --- |"]
        for name, row in rows.items():
            lines.append(f"| {name} | " + " | ".join(cell(errors(row, column)) for column in COLUMNS) + " |")
        for name, published in PUBLISHED.get(suite, {}).items():
            lines.append(f"| ({name}) | " + " | ".join("" if v is None else f"({v:.3g})" for v in published) + " |")
        tables.append("\n".join([*lines, "", shown(rows)]))
    physics = "\n".join(f"- {name}: {about(name)}" for name in names())
    return MARKDOWN.format(about=(__doc__ or "").split("\n\n", 1)[1].strip(), physics=physics, tables="\n\n".join(tables))


def stored_results() -> Results:
    """Those that come with the package."""
    found: Results = json.loads((Path(suites.__file__).parent / "learned.json").read_text())
    return found


def figure(results: Results) -> Figure:
    """Mean errors of energies, forces and charges as bars on a logarithmic scale, a row per suite."""
    drawn = Figure(figsize=(9, 2.6 * len(results)), layout="constrained")
    axes = drawn.subplots(len(results), len(COLUMNS), squeeze=False)
    for across, (suite, found) in zip(axes, results.items(), strict=True):
        for k, (one, (column, title)) in enumerate(zip(across, COLUMNS.items(), strict=True)):
            seeds = {name: errors(row, column) for name, row in found.items()}
            bars(one, seeds)
            one.set_xscale("log")
            published = PUBLISHED.get(suite, {}).get("4G", (None,) * 3)[k]
            if published:
                one.axvline(published, color="black", linewidth=1, linestyle=":")
            seen = np.log10([one for values in seeds.values() for one in values] + ([published] if published else []))
            one.set_xlim(10 ** np.floor(seen.min()), 10 ** np.ceil(seen.max()))
            one.xaxis.set_minor_formatter(NullFormatter())
            one.set_title(f"{suite}: {title}", fontsize=9)
    return drawn


PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Learnt functionals</title>
<style>body{{font:15px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em}}
pre{{overflow:auto}}img{{max-width:100%}}</style>
<h1>One network, one set of frames, one budget: which physics learns</h1>
<p>{about}</p>
<img alt="Errors of energies, forces and charges of each architecture" src="data:image/png;base64,{image}">
<p>Root mean square errors on frames not seen in training; strokes: each seed. Dotted: 4G-HDNNP on the original sets (Ko 2021),
for orientation; those were other frames, some hundred times as many.</p>
<pre>{table}</pre>
</html>
"""


def page(results: Results) -> str:
    """The report, one file of HTML."""
    import base64
    import io

    image = io.BytesIO()
    figure(results).savefig(image, format="png", dpi=130)
    text = (__doc__ or "").split("\n\n", 1)[1].replace("\n", " ")
    return PAGE.format(about=text, image=base64.b64encode(image.getvalue()).decode(), table=table(results))


def main() -> None:
    """Train, print, and write results and report."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stored", action="store_true", help="print the page of the stored results, and train nothing")
    parser.add_argument("suites", nargs="*", help="names of suites with results, or HDF5 files of them")
    parser.add_argument("--epochs", type=int, default=300)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0], help="of weights and of the order of frames")
    parser.add_argument("--architectures", nargs="+", default=list(names()), choices=names())
    parser.add_argument("--latent", action="store_true", help="energies and forces alone are labels, whatever the physics")
    parser.add_argument("--output", type=Path, default=Path("learned"), help="of .json and .html")
    arguments = parser.parse_args()
    if arguments.stored:
        print(markdown(stored_results()), end="")
        return
    if not arguments.suites:
        parser.error("give names of suites, or --stored")
    torch.set_num_threads(1)
    path = arguments.output.with_suffix(".json")
    results: Results = json.loads(path.read_text()) if path.exists() else {}
    for suite in arguments.suites:
        frames = list(FrameSet.read(stored(suite) if not suite.endswith(".h5") else suite))  # type: ignore[arg-type]
        for architecture in arguments.architectures:
            row = results.setdefault(Path(suite).stem, {})[architecture + (", latent" if arguments.latent else "")] = []
            for seed in arguments.seeds:
                row.append(learnt(frames, architecture, arguments.epochs, seed, latent=arguments.latent))
                write_whole(path, json.dumps(results, indent=1))
        print(table({Path(suite).stem: results[Path(suite).stem]}), flush=True)
    write_whole(arguments.output.with_suffix(".html"), page(results))


if __name__ == "__main__":
    main()
