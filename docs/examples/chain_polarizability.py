"""Polarizability of carbon chains, conjugated and saturated: a metal's exponent and an insulator's.

In charge equilibration charge moves through anything, so alpha along a chain of n atoms grows as n^3 (over a logarithm),
alkanes no less than polyynes. Split charges and response modes pay for every bond that charge crosses: alpha per atom becomes
a constant.
"""

import numpy as np
from matplotlib.figure import Figure

from cgdft import Structure
from cgdft.functionals import ACKS2, SQE, BondSoftness, QEq
from cgdft.validation import Results
from cgdft.validation.suites import stored
from cgdft.validation.suites.chains import LENGTHS, alkane, polyyne

LONG = (4, 8, 16, 32, 64, 125, 499)
KINDS = {"polyynes": (polyyne, "C{0}H2"), "alkanes": (alkane, "C{0}H{1}")}
MODELS = {"QEq": QEq(), "SQE": SQE(0.6), "ACKS2": ACKS2(BondSoftness(400.0, 6.0))}
DFT = Results.load(stored("chains")).references


def along(model, atoms):
    return float(model(Structure.from_ase(atoms)).polarizability()[0, 0, 0])


def exponent(lengths, values):
    return np.polyfit(np.log(lengths[-3:]), np.log(values[-3:]), 1)[0]


figure = Figure(figsize=(8, 3.4), layout="constrained")
found = {}
for axes, (kind, (make, formula)) in zip(figure.subplots(1, 2), KINDS.items(), strict=True):
    exact = [DFT[formula.format(n, 2 * n + 2)].polarizability[0, 0] for n in LENGTHS]
    print(
        f"{kind}: PBE {', '.join(f'{a:.0f}' for a in exact)} bohr^3 for n = {LENGTHS}, exponent {exponent(LENGTHS, exact):.2f}"
    )
    axes.loglog(LENGTHS, exact, "ks-", label=f"PBE, $n^{{{exponent(LENGTHS, exact):.1f}}}$")
    for name, model in MODELS.items():
        dense = name == "ACKS2" and kind == "alkanes"  # so many pairs within reach that 499 takes minutes
        lengths = LONG[:-1] if dense else LONG
        values = [along(model, make(n)) for n in lengths]
        found[name, kind] = exponent(lengths, values)
        print(f"  {name:6} {', '.join(f'{a:.0f}' for a in values)} for n to {lengths[-1]}, exponent {found[name, kind]:.2f}")
        axes.loglog(lengths, values, "o-", label=f"{name}, $n^{{{found[name, kind]:.1f}}}$")
    axes.set_title(kind, fontsize=9)
    axes.set_xlabel("carbon atoms n")
    axes.set_ylabel("alpha along the chain (bohr$^3$)")
    axes.legend(fontsize=8)
figure.savefig("chain_polarizability.png", dpi=150)

# Every chain is a wire for QEq; for what pays by the bond it is not, at last. PBE knows the difference.
assert all(found["QEq", kind] > 2.3 for kind in KINDS)
assert all(found[name, kind] < 1.3 for name in ("SQE", "ACKS2") for kind in KINDS)
