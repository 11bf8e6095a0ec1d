"""Solutions as text and as plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ase import Atoms

    from cgdft.solution import Solution

#: Atoms or structures listed before the rest is summarised.
LISTED = 30


def as_text(solution: Solution) -> str:
    """A readable table with units."""
    from cgdft.constraint import PotentialDifference

    structure = solution.structure
    lines = [f"{solution.model.name} on {structure!r}"]
    if len(structure) == 1:
        lines += _one(solution)
    else:
        lines.append(f"{'structure':>9} {'atoms':>6} {'energy (hartree)':>18} {'charge (e)':>11}  status")
        counts, energies, charges = structure.counts.tolist(), solution.energy.tolist(), solution.total_charge.tolist()
        for s in range(min(LISTED, len(structure))):
            lines.append(f"{s:>9} {counts[s]:>6} {energies[s]:>18.8f} {charges[s]:>11.6f}  {solution.status[s].name}")
        if len(structure) > LISTED:
            lines.append(f"      ... and {len(structure) - LISTED} more")
    worst = float(solution.history[-1].max())
    solver = solution.solver
    lines.append(f"{type(solver).__name__}: {solution.iterations} iteration(s), residual {worst:.1e} {solver.residual_unit}")
    lines += [f"{term.name}: {term.evaluation}" for term in solution.problem.functional if term.evaluation]
    if structure.pbc.all(1).any() and any(isinstance(one, PotentialDifference) for one in solution.model.constraints):
        lines.append(
            "note: the field between electrodes also goes through the vacuum to their images; set pbc False along the normal"
        )
    lines += [f"structure {s}: {status.value}" for s, status in enumerate(solution.status) if status.name != "CONVERGED"][
        :LISTED
    ]
    return "\n".join(lines)


def _one(solution: Solution) -> list[str]:
    structure, lmax = solution.structure, solution.model.basis.lmax
    dipoles = solution.dipoles.norm(dim=1).tolist()
    columns = {f"{'charge (e)':>12}": solution.charges.tolist()}
    if lmax:
        columns[f"{'|dipole| (e bohr)':>18}"] = dipoles
    if solution.model.basis.spin:
        columns[f"{'spin moment':>12}"] = solution.spin_moments.tolist()
    lines = [" ".join([f"{'atom':>6} {'':2}", *columns])]
    for i, symbol in enumerate(structure.symbols[:LISTED]):
        lines.append(" ".join([f"{i:>6} {symbol:2}", *(f"{values[i]:>{len(head)}.6f}" for head, values in columns.items())]))
    if structure.n_atoms > LISTED:
        lines.append(f"   ... and {structure.n_atoms - LISTED} more atoms")
    width = max(len(name) for name in [*solution.energies, "chemical potential"])
    for name, energy in solution.energies.items():
        lines.append(f"{name:<{width}} {float(energy[0].detach()):>18.8f} hartree")
    lines.append(f"{'energy':<{width}} {float(solution.energy[0].detach()):>18.8f} hartree")
    if solution.problem.held:
        lines.append(f"{'grand potential':<{width}} {float(solution.grand_potential[0].detach()):>18.8f} hartree")
    total = round(float(solution.total_charge[0].detach()), 8) + 0.0  # no minus zero
    lines.append(f"{'total charge':<{width}} {total:>18.8f} e")
    potentials = {name: float(potential[0].detach()) for name, potential in solution.potentials.items()}
    if "total" in potentials and not solution.outdated and solution.status[0].name == "CONVERGED":
        mu = float(solution.chemical_potential[0].detach())
        lines.append(f"{'chemical potential':<{width}} {mu:>18.8f} hartree")
        if abs(mu + potentials["total"]) < 1e-8:  # else what is minimised depends on the total charge, or is not what is read
            del potentials["total"]
    of_atoms = {row.name for row in (*solution.problem.fixed, *solution.problem.held) if row.of_atoms}
    for name, potential in list(potentials.items())[:LISTED]:
        unit = "hartree" if name == "spin" else "hartree/e" if name in of_atoms else "hartree / its unit"
        lines.append(f"{f'V {name}':<{width}} {potential:>18.8f} {unit}")
    if len(potentials) > LISTED:
        lines.append(f"   ... and {len(potentials) - LISTED} more potentials")
    if not structure.pbc.all():
        dipole = ", ".join(f"{d:.6f}" for d in solution.dipole[0].tolist())
        about = "" if abs(total) < 1e-6 else " about the origin"
        lines.append(f"{'dipole':<{width}} ({dipole}) e bohr{about}")
    return lines


def as_dict(solution: Solution) -> dict[str, Any]:
    """Plain numbers of a single structure."""
    if len(solution.structure) != 1:
        raise ValueError(f"`to_dict` takes one structure, got a batch of {len(solution.structure)}")
    structure = solution.structure
    result: dict[str, Any] = {
        "model": solution.model.name,
        "references": list(solution.model.references),
        "units": "Hartree atomic units (e, bohr, hartree)",
        "symbols": structure.symbols,
        "positions": structure.positions.tolist(),
        "pbc": structure.pbc[0].tolist(),
        "cell": structure.cell[0].tolist(),
        "charges": solution.charges.tolist(),
        "energy": float(solution.energy[0].detach()),
        "grand_potential": float(solution.grand_potential[0].detach()),
        "energies": {name: float(value[0].detach()) for name, value in solution.energies.items()},
        "total_charge": float(solution.total_charge[0].detach()),
        "potentials": {name: float(value[0].detach()) for name, value in solution.potentials.items()},
        "forces": solution.forces().tolist(),
        "status": solution.status[0].name,
        "iterations": solution.iterations,
        "residual": float(solution.history[-1].max()),
        "solver": repr(solution.solver),
        "evaluations": {term.name: term.evaluation for term in solution.problem.functional if term.evaluation},
    }
    if solution.model.basis.lmax > 0:
        result["dipoles"] = solution.dipoles.tolist()
    if solution.model.basis.lmax > 1:
        result["quadrupoles"] = solution.quadrupoles.tolist()
    if solution.model.basis.spin:
        result["spin_moments"] = solution.spin_moments.tolist()
    if "total" in solution.potentials:
        result["chemical_potential"] = float(solution.chemical_potential[0].detach())
    if solution.problem.held:
        result["capacitance"] = solution.capacitance()[0].tolist()
    if structure.has_stress[0]:
        result["stress"] = solution.stress()[0].tolist()
    if not structure.pbc.all():
        result["dipole"] = solution.dipole[0].tolist()
        result["polarizability"] = solution.polarizability()[0].tolist()
    return result


#: Electrons that no atom takes up; of noble gases, and of none.
TOO_MANY, NOBLE = 8, (0, 2, 10, 18, 36, 54, 86)


def note_on_charge(solution: Solution) -> list[str]:
    """That a charge of the structure is not the model's, if it is not."""
    got, asked = solution.total_charge.detach(), solution.structure.charge.detach()
    off = ((got - asked).abs() > 1e-6) & (asked != 0)
    if not off.any() or any(row.name == "total" for row in solution.problem.held):
        return []
    s = int(off.int().argmax())
    why = "its constraints say so" if solution.problem.fixed else "it does not know the total charge"
    return [f"the charges of {solution.model.name} add up to {float(got[s]):.3f} e in place of {float(asked[s]):g} e: {why}"]


def notes_on(solution: Solution) -> list[str]:
    """What a user may not expect of the charges of solutions."""
    import torch

    from cgdft.problems.minimisation import Minimisation

    notes, got = note_on_charge(solution), solution.total_charge.detach()
    q, numbers = solution.charges.detach(), solution.structure.numbers
    cores = numbers.new_tensor(NOBLE)
    outer = numbers - cores[torch.bucketize(numbers, cores) - 1]
    absurd = (q > outer + 0.3) | (q < -TOO_MANY)
    if absurd.any():
        i = int(absurd.int().argmax())
        notes.append(
            f"atom {i} ({solution.structure.symbols[i]}) has a charge of {float(q[i]):+.4g} e, which no atom has: charge, "
            "field or parameters are beyond what the model is for"
        )
    charged, axes = got.abs() > 1e-6, solution.structure.pbc.sum(1)
    if (charged & (axes == 3)).any():
        notes.append("the net charge of a crystal is neutralised by a uniform background, which is in its energy")
    if (charged & (axes > 0) & (axes < 3)).any():
        notes.append("the potential of a charged slab or wire has no zero at infinity: compare energies of one charge and cell")
    functional = solution.problem.functional
    if isinstance(solution.problem, Minimisation) and not functional.quadratic and not all(one.convex for one in functional):
        notes.append(f"the energy of {solution.model.name} is not known to be convex: other minima than this one may be lower")
    return notes


def one_line_each(solution: Solution, atoms: Sequence[Atoms], numbers: Sequence[int]) -> list[str]:
    """Number, formula, atoms, energy (hartree) and charge (e) of every structure of a batch."""
    energies, charges = solution.energy.tolist(), solution.total_charge.tolist()
    return [
        f"{numbers[s]:>9} {a.get_chemical_formula():<16} {len(a):>6} {energies[s]:>18.8f} {charges[s]:>11.6f}"
        for s, a in enumerate(atoms)
    ]
