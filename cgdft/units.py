"""Multipliers from other units to Hartree atomic units: `4.5 * eV` is 4.5 eV in hartree.

Values: CODATA 2022 as in SciPy 1.15 and later (E. Tiesinga et al., NIST 2024), written out so that numbers do not move
with the installed version of another package.
"""

bohr = 1.0
hartree = 1.0
e = 1.0
angstrom = 1.0 / 0.529177210544  # bohr radius in angstrom, CODATA 2022
eV = 1.0 / 27.211386245981  # hartree energy in eV, CODATA 2022
kcal_per_mol = 1.0 / 627.5094740629  # hartree * N_A / 4184 J, CODATA 2022
debye = 1.0 / 2.541746471470  # e bohr in debye: CODATA 2022 a_0, and e and c, which are exact
volt = eV  # a potential that raises the energy of +e by 1 eV
volt_per_angstrom = eV / angstrom  # field, in hartree / (e bohr)
