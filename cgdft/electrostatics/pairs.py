"""Which pairs of sites interact directly: all of them in open space, those within a cutoff in a periodic cell."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

if TYPE_CHECKING:
    from cgdft.structure import Structure


#: Cells of the grid in which neighbours are searched.
CELLS = 100_000
#: Cutoff over the thickness of what is searched beyond which a tree is faster.
FLAT = 30.0
#: Pairs of open structures that are all looked at, where there are no more.
FEW = 100_000


@dataclass(frozen=True, eq=False)
class Places:
    """Points in the cells of structures, beside the atoms: positions (n, 3), the structure of each (n,), ascending."""

    positions: Float[Tensor, "n 3"]
    index: Int[Tensor, " n"]
    cell: Float[Tensor, "n_structures 3 3"]
    pbc: Bool[Tensor, "n_structures 3"]

    @property
    def first(self) -> Int[Tensor, " n_structures"]:
        """Place of each structure's first point, (n_structures,)."""
        counts = torch.bincount(self.index, minlength=len(self.cell))
        return counts.cumsum(0) - counts


def all_pairs(rows: Tensor, columns: Tensor) -> tuple[Tensor, Tensor]:
    """(i, j) of every row and column of the same structure; `rows`, `columns` are the ascending indices of each site."""
    n = int(max(rows[-1], columns[-1])) + 1 if len(rows) and len(columns) else 0
    if n == 1:
        i, j = torch.arange(len(rows), device=rows.device), torch.arange(len(columns), device=rows.device)
        return i.repeat_interleave(len(j)), j.repeat(len(i))
    counts = torch.bincount(columns, minlength=n)
    first = counts.cumsum(0) - counts
    per_row = counts[rows]
    i = torch.repeat_interleave(torch.arange(len(rows), device=rows.device), per_row)
    start = torch.repeat_interleave(per_row.cumsum(0) - per_row, per_row)
    j = torch.arange(len(i), device=rows.device) - start + torch.repeat_interleave(first[rows], per_row)
    return i, j


def periodic_pairs(structure: Structure | Places, s: int, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """(i, j, shift) with |R_j + shift . cell - R_i| < cutoff for structure s, both orders; each atom with itself included.

    Atoms are numbered within the batch; shift is (n_pairs, 3) whole cells.
    """
    atoms = torch.nonzero(structure.index == s).flatten()
    i, j, shift = _neighbour_list(structure, s, cutoff, "ijS")
    itself = np.arange(len(atoms))
    i, j = np.concatenate([itself, i.astype(np.int64)]), np.concatenate([itself, j.astype(np.int64)])
    shift = np.concatenate([np.zeros((len(atoms), 3)), shift])
    device = structure.positions.device
    first, second = torch.from_numpy(i).to(device), torch.from_numpy(j).to(device)
    return atoms[first], atoms[second], torch.from_numpy(shift).to(structure.positions)


def pairs_within(structure: Structure, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """(i, j, shift) of all structures closer than a cutoff (bohr), both orders, images counted, no atom with itself."""
    loose = ~structure.pbc.any(1)
    parts = [_open_pairs(structure, loose, cutoff)]
    for s in torch.nonzero(~loose).flatten().tolist():
        i, j, shift = periodic_pairs(structure, s, cutoff)
        other = (i != j) | (shift != 0).any(1)
        parts.append((i[other], j[other], shift[other]))
    i, j, shift = (torch.cat([part[k] for part in parts]) for k in range(3))
    return i, j, shift


def _open_pairs(structure: Structure, which: Tensor, cutoff: float) -> tuple[Tensor, Tensor, Tensor]:
    """Those of open structures, `which` (n_structures,), all at once."""
    atoms = torch.nonzero(which[structure.index]).flatten()
    index, places = structure.index[atoms], structure.positions.detach()[atoms]
    if int((structure.counts[which] ** 2).sum()) <= FEW:
        i, j = all_pairs(index, index)
        apart = places[i] - places[j]
        near = (i != j) & ((apart * apart).sum(1) < cutoff**2)
        i, j = i[near], j[near]
    else:
        from vesin import NeighborList

        # side by side and out of each other's reach
        ends = places.new_zeros(len(structure))
        low, high = (ends.scatter_reduce(0, index, places[:, 0], way, include_self=False) for way in ("amin", "amax"))
        length = high - low + 2 * cutoff
        places = places + torch.nn.functional.pad((length.cumsum(0) - length - low)[index, None], (0, 2))
        search = NeighborList(cutoff=float(cutoff), full_list=True)
        found = search.compute(points=places.cpu().numpy(), box=np.eye(3), periodic=False, quantities="ij")
        i, j = (torch.from_numpy(one.astype(np.int64)).to(atoms.device) for one in found)
    return atoms[i], atoms[j], places.new_zeros(len(i), 3)


def separations(structure: Structure, i: Tensor, j: Tensor, shift: Tensor) -> Tensor:
    """R_i - R_j of the image, (n_pairs, 3), bohr; differentiable by positions and cell."""
    apart = structure.positions.index_select(0, i) - structure.positions.index_select(0, j)
    if not structure.pbc.any():
        return apart
    return apart - (shift[:, None] @ structure.cell[structure.index[i]])[:, 0]


def near_pairs(structure: Structure, cutoff: float, both: bool = True) -> tuple[Tensor, Tensor, Tensor]:
    """(i, j, R_i - R_j of the image) closer than a cutoff (bohr), in `both` orders or one; differentiable by them and cell.

    Raises:
        ValueError: a cutoff that is not one positive number, such as a parameter of a decorated function, which is per atom.
    """
    reach = torch.as_tensor(cutoff)
    if reach.numel() != 1 or not bool(reach > 0):
        got = cutoff if reach.numel() == 1 else tuple(reach.shape)
        raise ValueError(
            f"`cutoff` must be a number greater than zero, bohr, got {got}; of a function made a term parameters are per atom: "
            "let it stand in the body, or write a class"
        )
    i, j, shift = pairs_within(structure, cutoff)
    if not both:
        one = each_once(i, j, shift)
        i, j, shift = i[one], j[one], shift[one]
    return i, j, separations(structure, i, j, shift)


def fading(apart: Float[Tensor, "n_pairs 3"], cutoff: float | Tensor) -> Float[Tensor, " n_pairs"]:
    """(1 - r^2 / cutoff^2)^3 of R_i - R_j, zero beyond the cutoff with its first two derivatives."""
    return (1 - ((apart * apart).sum(1) / cutoff**2).clamp(max=1.0)) ** 3


def nearest_images(structure: Structure, i: Tensor, j: Tensor) -> Tensor:
    """R_i - R_j of the nearest image of each of some pairs, (n_pairs, 3); NaN where another image is nearly as near."""
    apart = structure.positions[i] - structure.positions[j]
    if not (len(i) and structure.pbc.any()):
        return apart
    from cgdft.electrostatics.boundary import reduction

    both = zip(structure.cell, structure.pbc, strict=True)
    cells = torch.stack([reduction(cell, pbc) @ _completed(cell, pbc) for cell, pbc in both])[structure.index[i]]
    periodic = structure.pbc[structure.index[i]].to(apart)
    around = torch.cartesian_prod(*3 * [torch.tensor([0.0, -1.0, 1.0])]).to(apart)
    with torch.no_grad():
        whole = (apart[:, None] @ torch.linalg.inv(cells)).round()
        shifts = (around - whole) * periodic[:, None]
        distance = (apart[:, None] + shifts @ cells).norm(dim=2)
        nearest = distance.argmin(1, keepdim=True)
        shift = shifts.gather(1, nearest[:, :, None].expand(-1, -1, 3))
        others = torch.where((shifts == shift).all(2), torch.inf, distance)
        unclear = others.amin(1) < 1.2 * distance.amin(1)
    return torch.where(unclear[:, None], torch.nan, apart + (shift @ cells)[:, 0])


def each_once(i: Tensor, j: Tensor, shift: Tensor) -> Tensor:
    """Which of pairs that are there in both orders, with images of an atom itself, are to be taken for each to count once."""
    first = shift.sign() @ shift.new_tensor([4.0, 2.0, 1.0])  # the sign of the first that is not zero
    return (i < j) | ((i == j) & (first > 0))


def neighbours(
    structure: Structure, s: int, cutoff: float, both: bool = True
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """(i, j, u) with u = R_i - R_j of the image, |u| < cutoff, in `both` orders or one, atoms numbered within structure s."""
    i, j, apart = _neighbour_list(structure, s, cutoff, "ijD", both)
    return i.astype(np.int32), j.astype(np.int32), np.negative(apart, out=apart)


def _neighbour_list(
    structure: Structure | Places, s: int, cutoff: float, quantities: str, both: bool = True
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    from vesin import NeighborList

    box = _completed(structure.cell[s].detach(), structure.pbc[s]).cpu().numpy()
    points, pbc = structure.positions[structure.index == s].detach().cpu().numpy(), structure.pbc[s].cpu().numpy()
    inverse = np.linalg.inv(box)
    spans = np.where(pbc, 1.0, np.ptp(points @ inverse, axis=0)) / np.linalg.norm(inverse, axis=0)
    along = np.maximum(spans / cutoff, 1.0)
    flat = along.min() * (CELLS / along.prod()) ** (1 / 3) < 2.0
    if flat or (not pbc.all() and cutoff > FLAT * spans.min()):  # its grid fails, or is slow
        return _images(structure, s, cutoff, quantities, both)
    found = NeighborList(cutoff=float(cutoff), full_list=both)
    i, j, apart = found.compute(points=points, box=box, periodic=pbc, quantities=quantities)
    return i, j, apart


def _images(
    structure: Structure | Places, s: int, cutoff: float, quantities: str, both: bool
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """The same neighbours among images of the atoms, in a tree."""
    points = structure.positions[structure.index == s].detach()
    i, j, shift = point_pairs(points, structure, s, cutoff)
    j = j - structure.first[s]
    apart = points[j] + shift @ structure.cell[s].detach() - points[i]
    wanted = (i != j) | (shift != 0).any(1)
    if not both:
        wanted = wanted & each_once(i, j, shift)
    a, b, c = (one[wanted].cpu().numpy() for one in (i, j, shift if quantities == "ijS" else apart))
    return a, b, c


def point_pairs(
    points: Tensor, structure: Structure | Places, s: int, cutoff: float, atoms: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """(point, atom, shift) with |R_atom + shift . cell - r_point| < cutoff for structure s, of all its atoms or of some."""
    from scipy.spatial import cKDTree

    atoms = torch.nonzero(structure.index == s).flatten() if atoms is None else atoms
    pbc = structure.pbc[s].cpu().numpy()
    cell = _completed(structure.cell[s].detach(), structure.pbc[s]).cpu().numpy()
    inverse = np.linalg.inv(cell)
    reach = cutoff * np.linalg.norm(inverse, axis=0)  # a sphere of this radius spans so many cells
    fractional = points.detach().cpu().numpy() @ inverse
    whole = np.floor(fractional) * pbc
    home = (fractional - whole) @ cell
    sources = structure.positions[atoms].detach().cpu().numpy() @ inverse
    wrapped = np.floor(sources) * pbc
    steps = [np.arange(-np.ceil(r) - 1, np.ceil(r) + 2) if p else np.zeros(1) for r, p in zip(reach, pbc, strict=True)]
    shifts = np.stack(np.meshgrid(*steps, indexing="ij"), -1).reshape(-1, 3)
    images = (sources - wrapped)[:, None, :] + shifts[None]
    inside = ((images >= -reach) & (images <= 1 + reach) | ~pbc).all(-1)
    atom, step = np.nonzero(inside)
    found = cKDTree(home).sparse_distance_matrix(cKDTree(images[atom, step] @ cell), cutoff, output_type="coo_matrix")
    i, image = found.row.astype(np.int64), found.col.astype(np.int64)
    shift = shifts[step[image]] - wrapped[atom[image]] + whole[i]
    device = structure.positions.device
    return (
        torch.from_numpy(i).to(device),
        atoms[torch.from_numpy(atom[image]).to(device)],
        torch.from_numpy(shift).to(structure.positions),
    )


def _completed(cell: Tensor, pbc: Tensor) -> Tensor:
    """The cell with independent vectors along open axes, where none need be given."""
    from cgdft.electrostatics.boundary import perpendicular

    return cell if pbc.all() else torch.where(pbc[:, None], cell, perpendicular(cell, pbc))
