"""Is the exact coarse functional of LiF a local hardness and Coulomb's law? Constrained DFT at two distances, and fits of it.

With def2-SVP to be quick; `python -m cgdft.validation.locality` has larger bases and more bonds.
"""

import numpy as np
from matplotlib.figure import Figure

from cgdft.units import eV
from cgdft.validation import CoulombFit, Hirshfeld
from cgdft.validation.exact.fit_hardness import PARABOLA, PIECEWISE, Curve, fit_hardness
from cgdft.validation.exact.fractional import atom_curve
from cgdft.validation.locality import BONDS, locality

DISTANCES, CHARGES = (1.4, 1.564, 1.8), (0.1, 0.25, 0.4, 0.55, 0.7, 0.85)

figure = Figure(figsize=(8, 3.4), layout="constrained")
spreads = {}
for axes, definition in zip(figure.subplots(1, 2), (CoulombFit(), Hirshfeld(0)), strict=True):
    found = locality(BONDS["LiF"], definition, "pbe/def2-svp", DISTANCES, CHARGES)
    print(f"{definition.name}: d2F/dq2 + 2 J in eV at q = {', '.join(map(str, CHARGES))} e")
    for distance, row in zip(DISTANCES, found.local / eV, strict=True):
        print(f"  {distance:.3f} A  ", " ".join(f"{one:7.1f}" for one in row))
        axes.plot(CHARGES, row, "o-", label=f"{distance} angstrom")
    for name, fit in found.fits().items():
        sum_of_eta, error = fit.combination({("Li", "eta"): 1, ("F", "eta"): 1})
        print(f"  {name}: eta(Li) + eta(F) = {sum_of_eta / eV:.1f} +- {error / eV:.1f} eV, left over {fit.rms / eV:.3f} eV")
    axes.set_title(f"LiF, {definition.name}", fontsize=9)
    axes.set_xlabel("charge of Li (e)")
    axes.set_ylabel("d2F/dq2 + 2 J (eV)")
    axes.legend(fontsize=8)
    spreads[type(definition).__name__] = np.nanmax(found.spread()[:4]) / eV

# Where charge changes sign: a semilocal atom is a parabola, an atom of Hartree-Fock theory has a kink at neutrality.
for method in ("pbe/def2-svp", "hf/def2-svp"):
    atom = atom_curve("F", method)
    curve = Curve.of_atom(atom, CoulombFit())
    left = {
        name: fit_hardness([curve], shapes).rms / eV for name, shapes in (("parabola", PARABOLA), ("with a kink", PIECEWISE))
    }
    rests = ", ".join(f"{name} leaves {rms:.2f} eV" for name, rms in left.items())
    print(f"F, {method}: slope of E(N) jumps by {atom.jump / eV:.1f} eV of IP - EA = {atom.hardness / eV:.1f} eV; {rests}")

# Nearly independent of the distance with charges of the Coulomb metric, not with Hirshfeld's.
assert spreads["CoulombFit"] < 2 < 5 < spreads["Hirshfeld"]
figure.savefig("exact_functional.png", dpi=150)
