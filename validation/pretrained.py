"""How good the trained models of the package are where they were not trained: `python -m cgdft.validation.pretrained`.

Other geometries, and pressed ones, are of the molecules and ions of the training, drawn anew (suite fresh). The other suites
hold molecules that are in the training set, though not in these geometries, and others that are not; molecules of other
elements, open shells and free atoms are left out.
"""

from __future__ import annotations

import argparse
import json
import warnings
from pathlib import Path
from typing import Any

from cgdft.learning.data.frames import Batch, Frame
from cgdft.learning.data.sets import FrameSet
from cgdft.learning.training.domain import OutsideTraining
from cgdft.learning.training.evaluation import evaluate
from cgdft.learning.training.saving import environment_of, load, metadata
from cgdft.learning.training.saving import names as trained
from cgdft.validation import suites
from cgdft.validation.point import named
from cgdft.validation.suites import stored

#: Of the training.
METHOD = "pbe/def2-svp"
SUITES = ("molecules", "ions", "water", "chains")
#: In names of frames of `fresh`.
PRESSED = " at "
QUANTITIES = ("energy", "forces", "multipoles", "dipole", "polarizability")
COLUMNS = {
    "energy": "energy (meV/atom)",
    "forces": "forces (meV/angstrom)",
    "charges": "charges (me)",
    "dipole": "dipole (me angstrom)",
    "polarizability": "polarizability (angstrom^3)",
}


def known(suite: str, elements: tuple[str, ...]) -> list[Frame]:
    """The frames of a suite that a model may be asked about: closed shells of more than one atom, of elements that it knows."""
    frames = FrameSet.read(stored(suite))  # type: ignore[arg-type]
    return [
        frame
        for frame in frames
        if frame.structure.n_atoms > 1 and set(frame.structure.symbols) <= set(elements) and not frame.structure.spin.any()
    ]


def rows(elements: tuple[str, ...]) -> dict[str, tuple[str, list[Frame]]]:
    """Of the table: the suite, and its frames that are meant."""
    fresh = known("fresh", elements)
    return {
        "other geometries": ("fresh", [frame for frame in fresh if PRESSED not in frame.name]),
        "pressed": ("fresh", [frame for frame in fresh if PRESSED in frame.name]),
        **{suite: (suite, known(suite, elements)) for suite in SUITES},
    }


def errors(name: str) -> dict[str, Any]:
    """Root mean square errors of a model of the package by row, "on", and how many frames it was trained on, "train"."""
    model, found = load(name), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideTraining)
        for row, (suite, frames) in rows(environment_of(model).elements).items():
            same = all(point.method == METHOD for point in named(suites.load(suite)).values())
            found[row] = evaluate(model, [Batch.of(frames)], [one for one in QUANTITIES if same or one != "energy"]).to_dict()
    return {"train": metadata(name)["provenance"]["data"]["frames"][0], "on": found}


PAGE = """# Trained models

{about}

```
cgdft solve molecule.xyz --model small-response
```

or, in Python, `cgdft.learning.load("small-response")`; `cgdft.learning.training.saving.metadata` says everything that the file
knows. They are small networks, trained on few frames of PBE/def2-SVP in vacuum: good for charges, dipoles and as a start for
training, not for thermochemistry. Atoms in surroundings unlike those of the training get a warning. How each was made is beside
it, as a file for `cgdft train`.

Errors are root mean squares, in brackets mean absolute values: few strained frames make the former. Molecules and ions were
computed with a larger basis (def2-SVPD), so that their energies are not compared.

{tables}

small-response was trained on molecules and ions alone, in pairs and with waters (suites warm and pairs), small-qeq on single
ones, relaxed and pressed (warm and squeezed): of hydrogen bonds and hydrated ions it knows nothing, which is what its rows of
water and ions show. Charges of waters among waters small-response has 20 me too large. Chains are longer than anything in the
training.

small-response was told the polarizabilities of 148 frames and has 0.84 of those of single molecules on average, too little
for water and HF (a quarter), too much for F2 (twice). The suites' are of def2-SVPD: there it has 0.55 of the reference's,
def2-SVP, which it was trained on, 0.70. Densities without a field tell little of them: small-qeq was told nothing else and
has 0.51.

Nearer than in any molecule atoms repel in every model (`NuclearRepulsion`, within 0.7 times the sum of covalent radii);
between that and what a model has seen, nothing holds its energy. small-response has not seen pressed molecules: with bonds at
0.86 to 0.98 of their length it errs by 5 meV/atom in the median, but by 550 for CO2 at 0.87, and in forces on CO there by 13
eV/angstrom. small-qeq was trained on such frames, and errs by 7.5 meV/atom for those kept back, pressed ones among them;
without them in training it was 22, of relaxed ones alone.

small-response is older than the electronegativities of its architecture, which are zero in its file. Trained again with them
and on pressed molecules too (160 epochs) it keeps 26 in place of 28 meV/atom where pressed ones are among those kept back,
has charges of waters among waters 15 me too large, but 0.52 of the polarizabilities in place of 0.84, and the energy of HF is
17 eV below that of the bond at 0.56 angstrom and 75 at 0.47, wall and all: a susceptibility is not bounded where nothing was
seen. So the older one is here.

Hirshfeld's charges without dipoles make half of a dipole: that of small-qeq for water is 0.19 e angstrom, measured 0.385.
"""


def markdown(results: dict[str, dict[str, Any]]) -> str:
    """The results as a page of the manual."""
    tables = []
    for name, found in results.items():
        lines = [f"## {name}, {found['train']} frames to train on", ""]
        lines += ["| on | frames | " + " | ".join(COLUMNS.values()) + " |", "| --- " * (len(COLUMNS) + 2) + "|"]
        for row, one in found["on"].items():
            told = [one["errors"].get(column) for column in COLUMNS]
            cells = " | ".join("" if each is None else f"{_digits(each['rmse'])} ({_digits(each['mae'])})" for each in told)
            lines.append(f"| {row} | {one['frames']} | {cells} |")
        tables.append("\n".join(lines))
    return PAGE.format(about=(__doc__ or "").split("\n\n", 1)[1].strip(), tables="\n\n".join(tables))


def _digits(value: float) -> str:
    return f"{value:.3g}" if value >= 1e-3 else "0"


def stored_results() -> dict[str, dict[str, Any]]:
    """Those that come with the package."""
    found: dict[str, dict[str, Any]] = json.loads(_path().read_text())
    return found


def _path() -> Path:
    return Path(suites.__file__).parent / "pretrained.json"


def main() -> None:
    """Evaluate all models, keep the results with the package, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stored", action="store_true", help="print the page of the stored results, and evaluate nothing")
    if not parser.parse_args().stored:
        _path().write_text(json.dumps({name: errors(name) for name in trained()}, indent=1))
    print(markdown(stored_results()), end="")


if __name__ == "__main__":
    main()
