"""The coarse density: Gaussian multipoles with their coefficients on a structure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from cgdft.basis import Multipoles
from cgdft.electrostatics.boundary import Box, perpendicular
from cgdft.electrostatics.compiled_points import ENDS, felt_at
from cgdft.electrostatics.coulomb import Coulomb, Sites
from cgdft.electrostatics.multipole import QUADRUPOLE, pair_energy
from cgdft.electrostatics.pairs import all_pairs, point_pairs
from cgdft.electrostatics.waves import CHUNK, Centres, WaveSum, waves_within
from cgdft.finite import finite, numbers_of, whole_numbers
from cgdft.structure import Structure
from cgdft.units import angstrom
from cgdft.writing import whole

#: Points whose potential is gathered from a mesh at once.
POINTS = 200_000
#: Gaussians whose widths differ by less than this factor are summed together.
ALIKE = 1.5
#: Relative errors by default: of explicit sums, and of those on a mesh.
EXPLICIT, ON_A_MESH = 1e-12, 1e-8
#: A mesh is used from so many pairs of atom and point in open structures, and so many triples of two atoms and a point in
#: periodic ones, whose sums run over waves as well.
WORK = (20_000_000, 1_000_000)
#: Of what is asked for along periodic axes.
KNOWN_WAYS = (
    "needs charges that are fixed or move along bonds: SplitCharges that finds its bonds (of hardness 0.0 within molecules of "
    "given charge), or modes whose Entries say what they have `carried`, with reference charges that positions do not change"
)


@dataclass(frozen=True, eq=False)
class Density:
    """rho(r) = sum_i sum_lm p_ilm g_lm(r - R_i; sigma_i): the deviation from superposed neutral atoms, e / bohr^3.

    Args:
        structure: the nuclei.
        basis: the Gaussian multipoles.
        coefficients: p, (n_atoms, size), atomic units; positive charge where electrons are missing.
        crossed: what charges that came through the walls of cells add to the dipole, (n_structures, 3), e bohr; NaN, or None of
            all, where it is not known by which way they came.

    Raises:
        TypeError, ValueError: `coefficients` of another kind or shape.
    """

    structure: Structure
    basis: Multipoles
    coefficients: Float[Tensor, "n_atoms size"]
    crossed: Float[Tensor, "n_structures 3"] | None = None

    def __post_init__(self) -> None:
        expected, like = (self.structure.n_atoms, self.basis.size), self.structure.positions.dtype
        if not isinstance(self.coefficients, Tensor) or self.coefficients.dtype != like:
            got = self.coefficients.dtype if isinstance(self.coefficients, Tensor) else type(self.coefficients).__name__
            raise TypeError(f"`coefficients` must be a tensor {expected} of {like}, got {got}")
        if tuple(self.coefficients.shape) != expected:
            raise ValueError(f"`coefficients` must be {expected}, got shape {tuple(self.coefficients.shape)}")

    def at(self, coefficients: Float[Tensor, "n_atoms size"]) -> Density:
        """The same with other coefficients."""
        return Density(self.structure, self.basis, coefficients, self.crossed)

    @property
    def charges(self) -> Float[Tensor, " n_atoms"]:
        """q_i, (n_atoms,), e."""
        return self.coefficients[:, 0]

    @property
    def dipoles(self) -> Float[Tensor, "n_atoms 3"]:
        """d_i about the own nucleus, (n_atoms, 3), e bohr; zero where the basis has none."""
        return self.shell(1)

    @property
    def quadrupoles(self) -> Float[Tensor, "n_atoms 5"]:
        """Q_im about the own nucleus in solid harmonics, (n_atoms, 5), e bohr^2; zero where the basis has none."""
        return self.shell(2)

    def shell(self, l: int) -> Float[Tensor, "n_atoms {2*l+1}"]:  # noqa: E741
        """p_il, (n_atoms, 2 l + 1), e bohr^l: charges, dipoles or quadrupoles; zero where the basis has none."""
        if self.basis.lmax < l:
            return self.coefficients.new_zeros(self.structure.n_atoms, 2 * l + 1)
        return self.coefficients[:, l**2 : (l + 1) ** 2]

    @property
    def multipoles(self) -> Float[Tensor, "n_atoms shells"]:
        """What Coulomb's law sees: charges, dipoles and quadrupoles, (n_atoms, (lmax + 1)^2)."""
        return self.coefficients[:, : self.basis.shells]

    @property
    def magnetisation(self) -> Float[Tensor, "n_atoms shells"]:
        """Multipoles of up less down electrons, (n_atoms, (lmax + 1)^2), bohr^l; zero where the basis has no spin."""
        return self.coefficients[:, self.basis.shells :] if self.basis.spin else torch.zeros_like(self.coefficients)

    @property
    def spin_moments(self) -> Float[Tensor, " n_atoms"]:
        """m_i, unpaired electrons of each atom, (n_atoms,)."""
        return self.magnetisation[:, 0]

    @property
    def sites(self) -> Sites:
        """The centres of the multipoles, for the Coulomb operator."""
        return sites_of(self.structure, self.basis)

    def total(self, values: Float[Tensor, " n_atoms"]) -> Float[Tensor, " n_structures"]:
        """Sum over the atoms of each structure, (n_atoms,) -> (n_structures,)."""
        return self.structure.total(values)

    @property
    def dipole(self) -> Float[Tensor, "n_structures 3"]:
        """D = sum_i q_i R_i + d_i, (n_structures, 3), e bohr; about the origin, which matters for a net charge.

        In a periodic cell only the components along open axes mean something.
        """
        return self.structure.total(self.charges[:, None] * self.structure.positions + self.dipoles)

    @property
    def open_dipole(self) -> Float[Tensor, "n_structures 3"]:
        """D along open directions, (n_structures, 3), e bohr; zero along periodic axes."""
        if not self.structure.pbc.any():
            return self.dipole
        return (self.structure.open_projector @ self.dipole[:, :, None])[:, :, 0]

    @property
    def itinerant_dipole(self) -> Float[Tensor, "n_structures 3"]:
        """D of charges as they came through the walls of cells, (n_structures, 3), e bohr; of open structures the dipole.

        An energy that has it is `external`, and linear in it.

        Raises:
            ValueError: it is not known by which way they came.
        """
        if not self.ways_known.all():
            raise ValueError(f"the itinerant dipole {KNOWN_WAYS}")
        return self.followed_dipole

    @property
    def ways_known(self) -> Bool[Tensor, " n_structures"]:
        """Where it is known how charges came through the walls of cells, (n_structures,): of open structures always."""
        loose = ~self.structure.pbc.any(1)
        return loose if self.crossed is None else loose | ~self.crossed.detach().isnan().any(1)

    @property
    def followed_dipole(self) -> Float[Tensor, "n_structures 3"]:
        """The itinerant dipole where it is known, else that along open directions, (n_structures, 3), e bohr."""
        known, dipole = self.ways_known[:, None], self.dipole
        if self.crossed is not None:
            dipole = dipole + torch.where(self.crossed.isnan(), 0.0, self.crossed)
        return dipole if known.all() else torch.where(known, dipole, self.open_dipole)

    @property
    def quadrupole(self) -> Float[Tensor, "n_structures 3 3"]:
        """Theta_ab = integral rho (3 r_a r_b - r^2 delta_ab) / 2, (n_structures, 3, 3), e bohr^2, about the origin.

        Source: A. D. Buckingham, Q. Rev. Chem. Soc. 13, 183 (1959).
        """
        r = self.structure.positions
        second = (self.charges[:, None] * r)[:, :, None] * r[:, None, :]
        crossed = self.dipoles[:, :, None] * r[:, None, :]
        second = second + crossed + crossed.transpose(1, 2)
        trace = second.diagonal(dim1=1, dim2=2).sum(-1)[:, None, None] * torch.eye(3).to(r)
        return self.structure.total(1.5 * second - 0.5 * trace + torch.einsum("im,mab->iab", self.quadrupoles, QUADRUPOLE))

    def potential(
        self,
        points: Float[Tensor, "n_points 3"],
        index: Int[Tensor, " n_points"] | None = None,
        accuracy: float | None = None,
    ) -> Float[Tensor, " n_points"]:
        """Electrostatic potential felt by a unit positive charge at points, (n_points,), hartree / e.

        Args:
            points: (n_points, 3), bohr.
            index: structure of each point, (n_points,), ascending; needed for a batch.
            accuracy: relative error; default: 1e-12 by explicit sums, and 1e-8 by a mesh, which large structures and many
                points have where no graph is asked for.
        """
        return self._felt(points, index, 0, accuracy)[:, 0]

    def field(
        self, points: Float[Tensor, "n_points 3"], index: Int[Tensor, " n_points"] | None = None
    ) -> Float[Tensor, "n_points 3"]:
        """Electric field -grad V at points, (n_points, 3), hartree / (e bohr)."""
        return -self._felt(points, index, 1)[:, 1:4]

    def values(
        self,
        points: Float[Tensor, "n_points 3"],
        index: Int[Tensor, " n_points"] | None = None,
        accuracy: float | None = None,
    ) -> Float[Tensor, " n_points"]:
        """rho at points, (n_points,), e / bohr^3; arguments as for `potential`."""
        points, index = self._points(points, index)
        if not self._has_graph(points) and self._many(points, index):
            meshed = self._by_mesh(points, index, 0, accuracy or ON_A_MESH, _Unweighted)
            if meshed is not None:
                return meshed[:, 0]
        widths = self.basis.width(self.structure)
        result = points.new_zeros(len(points))
        for s in range(len(self.structure)):
            rows, cell, pbc = torch.nonzero(index == s).flatten(), self.structure.cell[s], self.structure.pbc[s]
            mine = torch.nonzero(self.structure.index == s).flatten()
            alike = (widths.detach()[mine].log() / math.log(ALIKE)).floor()
            for one in alike.unique():
                atoms = mine[alike == one]
                narrow, wide = (float(width) for width in widths.detach()[atoms].aminmax())
                box = _Unweighted.around(cell, pbc, self.structure.positions[atoms], 1.0)
                near = math.prod(2 * ENDS * wide / h + 1 for h, p in zip(box.heights, pbc.tolist(), strict=True) if p)
                waves = waves_within(box, ENDS / math.sqrt(2), narrow) if pbc.all() else math.inf
                pairs = len(atoms) * min(near, waves)
                for part in rows.split(max(1, int(CHUNK / pairs))):
                    if waves < near * len(atoms):
                        result = result.index_add(0, part, self._by_waves(points[part], box, atoms))
                    else:
                        result = self._by_pairs(result, points, part, s, atoms, ENDS * wide)
        return result

    def _by_waves(self, points: Tensor, box: Box, atoms: Tensor) -> Tensor:
        """What some atoms of bulk add at points."""
        graph = torch.is_grad_enabled()
        with torch.enable_grad():
            probe = points.new_zeros(len(points), 1, requires_grad=True)
            sources = Centres(self.structure.positions[atoms], self.basis.width(self.structure)[atoms])
            waves = WaveSum(Centres(points, torch.zeros_like(points[:, 0])), sources, box, ENDS / math.sqrt(2))
            total = waves.bilinear(probe, self.multipoles[atoms])
        return torch.autograd.grad(total, probe, create_graph=graph)[0][:, 0]

    def _by_pairs(self, result: Tensor, points: Tensor, rows: Tensor, s: int, atoms: Tensor, cutoff: float) -> Tensor:
        """With what some atoms of structure s add at the points `rows`."""
        if self.structure.pbc[s].any():
            i, j, shift = point_pairs(points[rows], self.structure, s, cutoff, atoms)
            moved = shift @ self.structure.cell[s]
        else:
            i, j = all_pairs(torch.zeros_like(rows), torch.zeros_like(atoms))
            j, moved = atoms[j], points.new_zeros(3)
        u = points[rows[i]] - self.structure.positions[j] - moved
        # g_lm = h_lm(d/dR) g_00, and (-1/u d/du)^n g_00 = g_00 / sigma^2n
        inverse = 1 / self.basis.width(self.structure)[j] ** 2
        gauss = (inverse / (2 * torch.pi)) ** 1.5 * torch.exp(-0.5 * (u * u).sum(-1) * inverse)
        radial = torch.stack([gauss * inverse**n for n in range(self.basis.lmax + 1)])
        unit = u.new_ones(1, 1)
        return result.index_add(0, rows[i], pair_energy(unit, self.multipoles[j].T, u.T, radial))

    def _felt(self, points: Tensor, index: Tensor | None, lmax: int, accuracy: float | None = None) -> Tensor:
        points, index = self._points(points, index)
        if self._has_graph(points) or not self._many(points, index):
            return self._summed(points, index, lmax, accuracy or EXPLICIT)
        felt = self._by_mesh(points, index, lmax, accuracy or ON_A_MESH)
        return self._summed(points, index, lmax, accuracy or EXPLICIT) if felt is None else felt

    def _has_graph(self, points: Tensor) -> bool:
        """Whether derivatives are asked for, or another device, which a mesh in compiled loops has not."""
        inputs = (self.coefficients, self.structure.positions, self.structure.cell, self.sites.width, points)
        return points.device.type != "cpu" or (torch.is_grad_enabled() and any(one.requires_grad for one in inputs))

    def _by_mesh(
        self, points: Tensor, index: Tensor, lmax: int, accuracy: float, kind: type[Box] = Box
    ) -> Float[Tensor, "n_points felt"] | None:
        """What is felt at points; None where explicit sums are faster."""
        felt = points.new_zeros(len(points), (lmax + 1) ** 2)
        for s in index.unique().tolist():
            for rows in torch.nonzero(index == s).flatten().split(POINTS):
                found = felt_at(self.structure, s, self.sites, self.multipoles, points[rows], lmax, accuracy, kind)
                if found is None:
                    return None
                felt[rows] = found
        return felt

    def _summed(self, points: Tensor, index: Tensor, lmax: int, accuracy: float) -> Tensor:
        """By explicit sums, as many points at once as memory holds."""
        length = max(1, CHUNK // (20 * max(1, self.structure.n_atoms)))
        parts = [
            Coulomb(self.structure, self.sites, Sites(p, i, p.new_zeros(len(p)), lmax), accuracy=accuracy).potential(
                self.multipoles
            )
            for p, i in zip(points.split(length), index.split(length), strict=True)
        ]
        return torch.cat(parts)

    def _many(self, points: Tensor, index: Tensor) -> bool:
        """Whether explicit sums would take longer than a mesh."""
        counts, periodic = self.structure.counts, self.structure.pbc.any(1)
        work = counts * torch.bincount(index, minlength=len(counts))
        return bool(((work > WORK[0]) & ~periodic | (work * counts > WORK[1]) & periodic).any())

    def _points(self, points: Tensor, index: Tensor | None) -> tuple[Tensor, Tensor]:
        points = numbers_of("points", points, torch.float64, self.coefficients.device)
        if points.ndim != 2 or points.shape[1] != 3 or not finite(points):
            raise ValueError(f"`points` must be finite and (n_points, 3) in bohr, got shape {tuple(points.shape)}")
        if index is None:
            if len(self.structure) > 1:
                raise ValueError(f"`index` must say to which of the {len(self.structure)} structures each point belongs")
            index = torch.zeros(len(points), dtype=torch.int64, device=points.device)
        return points, whole_numbers("`index`", index, len(points), len(self.structure)).to(points.device)

    def write_cube(self, path: str | Path, what: str = "density", spacing: float = 0.3, margin: float | None = None) -> None:
        """Gaussian cube file of the density (e / bohr^3) or the potential (hartree / e) of a single structure.

        Args:
            path: the file.
            what: "density" or "potential".
            spacing: of the grid, bohr.
            margin: space around the atoms along open axes, bohr, where along periodic ones the cell is drawn; default 6, of the
                density at least four widths of its widest Gaussian.
        """
        from ase.io.cube import write_cube

        if what not in ("density", "potential"):
            raise ValueError(f"`what` must be 'density' or 'potential', got {what!r}")
        if margin is None:
            margin = max(6.0, 4 * float(self.sites.width.max())) if what == "density" else 6.0
        atoms = self.structure.to_ase()
        positions = self.structure.positions.detach()
        pbc, cell = self.structure.pbc[0], self.structure.cell[0].detach()
        directions, box, origin = perpendicular(cell, pbc), cell.clone(), positions.new_zeros(3)
        for axis in torch.nonzero(~pbc).flatten().tolist():
            along = positions @ directions[axis]
            box[axis] = directions[axis] * (along.max() - along.min() + 2 * margin)
            origin = origin + directions[axis] * (along.min() - margin)
        counts = (box.norm(dim=1) / spacing).ceil().long().clamp(min=2).tolist()
        fractions = torch.cartesian_prod(*[torch.arange(n, dtype=torch.float64) / n for n in counts])
        points = origin + fractions @ box
        with torch.no_grad():
            data = self.values(points) if what == "density" else self.potential(points)
        atoms.cell = box.numpy() / angstrom
        with whole(Path(path)) as file:
            text, comment = TextIOWrapper(file, encoding="ascii"), f"cgdft {what}, a.u."
            write_cube(text, atoms, data.reshape(counts).numpy(), origin=origin.numpy() / angstrom, comment=comment)
            text.detach()  # written out, and the file left open


class _Unweighted(Box):
    """With a kernel of one: sums over waves are those of the density itself."""

    background = False
    folded = False

    def kernel(self, k: Tensor, k2: Tensor) -> Tensor:
        return torch.ones_like(k2)


def sites_of(structure: Structure, basis: Multipoles) -> Sites:
    """The atoms of a structure as centres of the basis."""
    return Sites(structure.positions, structure.index, basis.width(structure), basis.lmax)
