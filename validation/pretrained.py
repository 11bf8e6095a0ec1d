"""How good the trained models of the package are where they were not trained: `python -m cgdft.validation.pretrained`.

Rows: "other geometries" and "pressed" are molecules and ions of the training in geometries drawn anew (suite fresh), "unseen"
are organic molecules and ions that are not in the training (suite unseen), "waters" and "chains" are clusters and chains that
are larger than those (suite larger). The molecules and ions of the other suites are in the training as well; molecules of other
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
from cgdft.learning.data.units import SHOWN
from cgdft.learning.training.domain import OutsideTraining
from cgdft.learning.training.evaluation import evaluate
from cgdft.learning.training.saving import environment_of, load, metadata
from cgdft.pretrained import names as trained
from cgdft.validation import suites
from cgdft.validation.suites import stored
from cgdft.writing import write_whole

SUITES = ("unseen", "molecules", "ions")
#: In names of frames of `fresh`.
PRESSED = " at "
QUANTITIES = ("energy", "forces", "multipoles", "dipole", "polarizability")
COLUMNS = {name: f"{name} ({SHOWN[name][0]})" for name in ("energy", "forces", "charges", "dipole", "polarizability")}


def known(suite: str, elements: tuple[str, ...]) -> list[Frame]:
    """The frames of a suite that a model may be asked about: closed shells of more than one atom, of elements that it knows."""
    frames = FrameSet.read(stored(suite))  # type: ignore[arg-type]
    return [
        frame
        for frame in frames
        if frame.structure.n_atoms > 1 and set(frame.structure.symbols) <= set(elements) and not frame.structure.spin.any()
    ]


def rows(elements: tuple[str, ...]) -> dict[str, list[Frame]]:
    """Of the table."""
    fresh, larger = known("fresh", elements), known("larger", elements)
    return {
        "other geometries": [frame for frame in fresh if PRESSED not in frame.name],
        "pressed": [frame for frame in fresh if PRESSED in frame.name],
        **{suite: known(suite, elements) for suite in SUITES},
        "waters": [frame for frame in larger if "O" in frame.structure.symbols],
        "chains": [frame for frame in larger if "O" not in frame.structure.symbols],
    }


def errors(name: str) -> dict[str, Any]:
    """Root mean square errors of a model of the package by row, "on", and how many frames it was trained on, "train"."""
    model, found = load(name), {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OutsideTraining)
        for row, frames in rows(environment_of(model).elements).items():
            found[row] = evaluate(model, [Batch.of(frames)], list(QUANTITIES)).to_dict()
    return {"train": metadata(name)["provenance"]["data"]["frames"][0], "on": found}


PAGE = """# Trained models

Two models of H, C, N, O, F, Na, Si and Cl come with the package, small-response and small-qeq:

```
cgdft solve molecule.xyz --model small-response
```

or, in Python, `cgdft.learning.load("small-response")`; `cgdft.learning.training.saving.metadata` says everything that the
file knows. Their networks compute in float32, forces to 1e-5 eV/angstrom; `load("small-response").double()` is without that
noise, as tight optimisations and vibrations want. They are small, trained on few frames of PBE/def2-SVPD in vacuum:
small-response is good for charges, dipoles and polarizabilities of organic molecules and water, small-qeq for charges; both as
a start for training (`start`, see [training](training.md)), neither for thermochemistry. What is unlike their molecules they
know less well, though each atom has surroundings as in training: of uracil, which is not in it, small-response has 4.21 of 4.26
debye and 67 of 70 bohr^3 (of zwitterionic alanine 9.60 of 9.58 debye, 59 of 59 bohr^3), of radicals the energies of closed
shells. Atoms in surroundings unlike those of the training get a warning, and so do other total charges than -1, 0 and 1 e, and
open shells. `cgdft/learning/pretrained` has the training of each as a file for `cgdft train`.

Errors are root mean squares, in brackets mean absolute values: few strained frames make the former. {about}

{tables}

Both were trained on molecules and ions alone, pressed, with a bond stretched, in pairs and in clusters of up to five waters
(suites warm, squeezed, stretched, pairs, clusters and organic), without any frames to stop by: what is held out are the rows
"other geometries", "pressed", "unseen", "waters" and "chains". Chains are longer than anything in the training, and their
energies are too high by what is learnt of shorter ones; that of a ring of six waters by 12 meV/atom.

small-response was told the polarizabilities of 1208 frames. Of those that it was not told it has 1.00 on average of organic
molecules (suite unseen; 0.91 to 1.10), 1.01 of the other small ones (suite fresh; SiH3- 0.74, HCO+ 1.22, CH3+ 1.33, Na2, of
which it was told none, a third). Lone ions have 1.4 bohr^3 (Na+; 0.4 in the reference), 18 (F-; 10) and 30 (Cl-; 31). Densities
without a field tell little of them: small-qeq was told nothing else and has 0.65 of the reference's of organic molecules, 0.29
in the suite molecules.

Nearer than in any molecule a repulsion is added (`NuclearRepulsion`, within 0.7 times the sum of covalent radii). Pressed to
0.3 of their lengths the energies of H2, N2, CO, F2, Cl2, HF, HCl, ClF, NaCl and SiO rise all the way with small-response, with
small-qeq those of all but F2, HCl and ClF, which fall by up to 0.7 eV behind walls of 10 eV and more.

Bonds hold to one and a half times their length, as far as the suite stretched goes; beyond, with a warning, energies end in
values of their own: closed shells of a reference without spin would be wrong there, too.

Between fragments far apart some charge remains, as the total charge is shared by all atoms (small-response: 8 % of that of Na+
with a water, 0.015 e between water and ammonia, which is 20 meV), or flows, as in all of charge equilibration (small-qeq).

Hirshfeld's charges without dipoles make half of the dipole of a small molecule: that of small-qeq for water is 0.173 e
angstrom, that of small-response 0.361, of the reference 0.384, measured 0.386 (1.855 D, CRC Handbook of Chemistry and Physics);
of zwitterionic alanine small-qeq has 8.6 of 9.6 debye.
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
    """Evaluate all models, write the results, and print the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--stored", action="store_true", help="print the page of the stored results, and evaluate nothing")
    parser.add_argument("--output", type=Path, help="JSON of the results; those stored: validation/suites/pretrained.json")
    arguments = parser.parse_args()
    results = stored_results() if arguments.stored else {name: errors(name) for name in trained()}
    if arguments.output is not None:
        write_whole(arguments.output, json.dumps(results, indent=1))
    print(markdown(results), end="")


if __name__ == "__main__":
    main()
