"""A charge unseen: the far end of a conjugated chain, C10H2, once a proton has been put on the near end.

After T. W. Ko, J. A. Finkler, S. Goedecker, J. Behler, Nat. Commun. 12, 398 (2021). The surroundings of the far end are the
same but for hundredths of an angstrom in its bonds, so a function of them gives the same charges; to add up, every atom
gets an equal share of what is missing, which is a good guess in this chain and would be the same in one that does not conduct.
Charge equilibration sees the proton from anywhere and collects charge at the end, as PBE does. That PBE prefers every other
carbon is resonance, of which charge equilibration knows nothing.
"""

import numpy as np
import torch
from matplotlib.figure import Figure

from cgdft import Structure
from cgdft.functionals import LocalMultipoles, QEq
from cgdft.units import angstrom
from cgdft.validation import Results
from cgdft.validation.suites import stored

REACH = 4.0 * angstrom
FAR = [6, 7, 8, 9, 10]  # four carbons and the hydrogen of the far end


def surroundings(structure):
    """Charge that each atom has by QEq in the neutral cluster of atoms within reach, (n_atoms, 1), e."""
    charges = structure.positions.new_zeros(structure.n_atoms, 1)
    for atom, near in enumerate(torch.cdist(structure.positions, structure.positions) < REACH):
        cluster = QEq()(Structure(structure.numbers[near], structure.positions[near]))
        charges[atom] = cluster.charges[near[:atom].sum()]
    return charges


references = Results.load(stored("carbon")).references
neutral, cation = references["C10H2 0"], references["C10H3+ 0"]
before, after = neutral.structure(), cation.structure()
local, everywhere = LocalMultipoles(surroundings, width=1.0, lmax=0), QEq()
change = {
    "PBE, Hirshfeld": cation.multipoles[:11, 0] - neutral.multipoles[:11, 0],
    "QEq": (everywhere(after).charges[:11] - everywhere(before).charges[:11]).numpy(),
    "local": (surroundings(after)[:11, 0] - surroundings(before)[:11, 0]).numpy(),
    "local, made to add up": (local(after).charges[:11] - local(before).charges[:11]).numpy(),
}
longest = np.abs(np.diff(cation.positions[5:10, 2]) - np.diff(neutral.positions[5:10, 2])).max() / angstrom
print(f"bonds of the far half differ by {longest:.3f} angstrom at most; change of charges (e):")
print("                        four carbons of the far end, its hydrogen     sum")
for name, row in change.items():
    print(f"{name:22} {'  '.join(f'{q:+.3f}' for q in row[FAR])} {row[FAR].sum():+14.3f}")

figure = Figure(figsize=(5.2, 3.4), layout="constrained")
axes = figure.subplots()
for name, row in change.items():
    axes.plot(range(1, 11), row[:10], "ks-" if name.startswith("PBE") else "o-", label=name)
axes.axhline(0, color="0.8", linewidth=1, zorder=0)
axes.set_xlabel("carbon, from the protonated end")
axes.set_ylabel("change of charge (e)")
axes.legend(fontsize=7)
figure.savefig("unseen_charge.png", dpi=150)

spread = {name: np.ptp(row[FAR]) for name, row in change.items()}
assert np.abs(change["local"][FAR]).max() < 0.01
assert spread["local, made to add up"] < 0.01 < 0.03 < min(spread["QEq"], spread["PBE, Hirshfeld"])
assert all(change[name][9] > 0.09 > change["local, made to add up"][9] for name in ("QEq", "PBE, Hirshfeld"))
