"""QEq with the Slater integrals of the paper against the Gaussian ones used here: widths, charges, and the paper's hydrogen.

The Coulomb integral of two ns Slater densities is taken from their Fourier transforms,
f(k) = (2 zeta)^(2n+1) / (2n) Im (2 zeta - i k)^(-2n) / k,  J(R) = 2/pi int f_A f_B sin(kR)/(kR) dk.
"""

from itertools import combinations

import numpy as np
from ase.build import molecule
from scipy.optimize import minimize_scalar
from scipy.special import erf

import cgdft
from cgdft.functionals import Anharmonic, QEq
from cgdft.functionals.models.qeq import CHI, HARDNESS, WIDTH

#: Principal quantum number and Slater exponent (1/bohr): A. K. Rappe, W. A. Goddard, J. Phys. Chem. 95, 3358 (1991), Table I.
SLATER = {
    "H": (1, 1.0698), "Li": (2, 0.4174), "C": (2, 0.8563), "N": (2, 0.9089), "O": (2, 0.9745), "F": (2, 0.9206),
    "Na": (3, 0.4364), "Si": (3, 0.7737), "P": (3, 0.8257), "S": (3, 0.8690), "Cl": (3, 0.9154), "K": (4, 0.4524),
    "Br": (4, 1.0253), "Rb": (5, 0.5162), "I": (5, 1.0726), "Cs": (6, 0.5663),
}  # fmt: skip
K, DK = 30 * (np.polynomial.legendre.leggauss(2000) + np.array([[1.0], [0.0]]))


def transform(element: str, more: float = 0.0) -> np.ndarray:
    n, zeta = SLATER[element][0], SLATER[element][1] + more
    return (2 * zeta) ** (2 * n + 1) / (2 * n) * ((2 * zeta - 1j * K) ** (-2 * n)).imag / K


def slater(first: str, second: str, r: np.ndarray, more: np.ndarray | tuple = (0.0, 0.0)) -> np.ndarray:
    product = DK * transform(first, more[0]) * transform(second, more[1])
    return 2 / np.pi * np.array([(product * np.sinc(K * x / np.pi)).sum() for x in np.atleast_1d(r)])


def slater_charges(symbols: list[str], positions: np.ndarray, itself: float = 0.0, others: float = 0.0) -> np.ndarray:
    """Charges; with 1.0 for 0.0 zeta(q) = zeta + q of hydrogen acts on itself, J(q) = J (1 + q / zeta), and on other atoms."""
    n, hydrogen, q = len(symbols), np.array([symbol == "H" for symbol in symbols]), np.zeros(len(symbols))
    for _ in range(60 if itself else 1):
        more = others * hydrogen * q
        J = np.diag([HARDNESS[symbols[i]] * (1 + itself * hydrogen[i] * q[i] / SLATER["H"][1]) for i in range(n)])
        for i, j in combinations(range(n), 2):
            J[i, j] = J[j, i] = slater(symbols[i], symbols[j], np.linalg.norm(positions[i] - positions[j]), more[[i, j]])[0]
        kkt = np.block([[J, np.ones((n, 1))], [np.ones((1, n)), 0.0]])
        found = np.linalg.solve(kkt, [*(-CHI[s] for s in symbols), 0.0])[:n]
        q = 0.5 * (q + found) if itself else found
    return q


print("element  width here  width fitted  largest error of J (hartree): between like atoms, with any")
r = (np.arange(1600) + 0.5) * 0.05
gauss = lambda *sigma: erf(r / np.sqrt(2 * (sigma[0] ** 2 + sigma[-1] ** 2))) / r  # noqa: E731
for element in SLATER:
    exact = slater(element, element, r)
    fitted = minimize_scalar(lambda s, exact=exact: ((gauss(s) - exact) ** 2).sum(), bounds=(0.3, 12), method="bounded").x
    like = np.abs(gauss(WIDTH[element]) - exact).max()
    errors = {one: np.abs(gauss(WIDTH[element], WIDTH[one])[:200] - slater(element, one, r[:200])).max() for one in SLATER}
    worst = max(errors, key=errors.__getitem__)
    print(f"{element:7} {WIDTH[element]:11.4f} {fitted:13.3f} {like:14.4f} {errors[worst]:10.4f} {worst}")
    assert abs(fitted - WIDTH[element]) < 2e-3

print("\nmolecule  largest charge: Slater, Gaussian; largest difference (e)")
for name in ("LiF", "NaCl", "HCl", "H2O", "NH3", "CH4", "CH3OH", "C2H4", "CO2", "SO2", "CH3Cl", "SiH4"):
    structure = cgdft.Structure.from_ase(molecule(name))
    there, here = slater_charges(structure.symbols, structure.positions.numpy()), QEq()(structure).charges.numpy()
    k = np.abs(there).argmax()
    print(f"{name:9} {structure.symbols[k]:2} {there[k]:8.3f} {here[k]:8.3f} {np.abs(there - here).max():10.3f}")
    assert np.abs(there - here).max() < 0.05

print("\ncharge of hydrogen (e): constant hardness; J(q) of itself; zeta(q) in all integrals; here, with a cubic term")
cubic = Anharmonic(cubic={element: 2 * HARDNESS["H"] / SLATER["H"][1] if element == "H" else 0.0 for element in CHI})
for name in ("HF", "H2O", "NH3", "HCl"):
    structure = cgdft.Structure.from_ase(molecule(name))
    symbols, k = structure.symbols, structure.symbols.index("H")
    fixed, itself, all_of_it = (slater_charges(symbols, structure.positions.numpy(), *how)[k] for how in ((), (1,), (1, 1)))
    here = (QEq() + cubic)(structure).charges[k].item()
    print(f"{name:9} {fixed:8.3f} {itself:8.3f} {all_of_it:8.3f} {here:8.3f}")
    assert abs(here - itself) < 0.02 < fixed - all_of_it
