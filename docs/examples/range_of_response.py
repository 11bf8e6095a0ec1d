"""How far charge goes when it responds, and where a local hardness is right: clusters, chains and a metal, from stored DFT.

For each molecule the best hardness of each element is fitted to the Kohn-Sham susceptibility of Hirshfeld charges. alpha_q is
the part of the polarizability that charges carry, along the axis where it is largest.
"""

import numpy as np
from matplotlib.figure import Figure

from cgdft.units import angstrom
from cgdft.validation import Results
from cgdft.validation.exact.local_hardness import fit_local_hardness
from cgdft.validation.exact.susceptibility import Susceptibility
from cgdft.validation.suites import stored

CASES = {
    "water": ("(H2O)2", "(H2O)6"),
    "chains": ("C4H10", "C8H18", "C4H2", "C8H2", "C12H2"),
    "sodium": ("Na8",),
}
EDGES = np.array([0, 2, 3.2, 5, 8, 12, 20]) * angstrom

print(
    "           alpha  alpha_q  QEq (to chi, to K)  range  softest, hardest mode  rms dq/dv by distance (0, 2, 3.2, 5, 8, 12 A)"
)
shown = {}
for suite, names in CASES.items():
    results = Results.load(stored(suite))
    for name in names:
        reference = results.references[name]
        exact = Susceptibility.of_reference(reference)
        axis = np.argmax(np.diag(exact.charge_polarizability))
        fits = [fit_local_hardness(exact, to_kernel=kernel) for kernel in (False, True)]
        models = [one.susceptibility.charge_polarizability[axis, axis] for one in fits]
        alpha, alone = reference.polarizability[axis, axis], exact.charge_polarizability[axis, axis]
        softness = exact.modes[0]
        near = exact.by_distance(EDGES)
        distances = " ".join("    -" if np.isnan(one) else f"{one:5.3f}" for one in near)
        print(
            f"{name:8} {alpha:7.1f} {alone:8.1f} {models[0]:9.1f} {models[1]:9.1f} {exact.range / angstrom:6.2f}"
            f" {softness[0]:10.2f} {softness[-2]:8.3f}        {distances}"
        )
        shown[name] = (models[0] / alone, near, fits[1].remainder, exact)

# Right for the metal and the long conjugated chain, far off for insulators, the more so the longer they are.
assert abs(shown["C12H2"][0] - 1) < 0.1
assert shown["(H2O)6"][0] > 3
assert shown["C8H18"][0] > shown["C4H10"][0] > 1.4

figure = Figure(figsize=(8, 3.4), layout="constrained")
left, right = figure.subplots(1, 2)
for name, (_, near, remainder, exact) in shown.items():
    middle = (EDGES[1:] + EDGES[:-1]) / 2 / angstrom
    left.semilogy(middle, near, "o-", label=name)
    right.semilogy(middle, exact.by_distance(EDGES, remainder), "o-", label=name)
for axes, title in (
    (left, "susceptibility dq/dv (e$^2$/hartree)"),
    (right, "what a local hardness leaves of K (hartree/e$^2$)"),
):
    axes.set_xlabel("distance (angstrom)")
    axes.set_title(title, fontsize=9)
right.legend(fontsize=7)
figure.savefig("range_of_response.png", dpi=150)
