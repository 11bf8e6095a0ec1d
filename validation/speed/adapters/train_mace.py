"""Time of a training step of mace-torch, for `cgdft.validation.speed.training`: FILE CHANNELS CUTOFF STEPS; in ms and MiB."""

from __future__ import annotations

import resource
import statistics
import sys
import time

import numpy as np


def main() -> None:
    """Energies and forces in the loss, Adam, float32, as there."""
    import torch
    from ase.io import read
    from mace import data, modules, tools  # before e3nn, which its version of torch only then can load
    from mace.tools import torch_geometric

    from e3nn import o3  # isort: skip

    file, channels, cutoff, steps = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    torch.set_num_threads(1)
    torch.set_default_dtype(torch.float32)
    structures = read(file, ":")
    elements = sorted({int(z) for atoms in structures for z in atoms.numbers})
    table = tools.AtomicNumberTable(elements)
    for atoms in structures:
        atoms.info["REF_energy"] = 0.0
        atoms.arrays["REF_forces"] = 0.01 * np.random.default_rng(0).standard_normal((len(atoms), 3))
    keys = data.KeySpecification(info_keys={"energy": "REF_energy"}, arrays_keys={"forces": "REF_forces"})
    configurations = [data.config_from_atoms(atoms, key_specification=keys) for atoms in structures]
    frames = [data.AtomicData.from_config(one, z_table=table, cutoff=cutoff) for one in configurations]
    batch = next(iter(torch_geometric.dataloader.DataLoader(frames, batch_size=len(frames))))
    for correlation in (1, 3):
        model = modules.ScaleShiftMACE(
            r_max=cutoff,
            num_bessel=8,
            num_polynomial_cutoff=5,
            max_ell=1,
            interaction_cls=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            interaction_cls_first=modules.interaction_classes["RealAgnosticResidualInteractionBlock"],
            num_interactions=2,
            num_elements=len(elements),
            hidden_irreps=o3.Irreps(f"{channels}x0e + {channels}x1o"),
            MLP_irreps=o3.Irreps("16x0e"),
            gate=torch.nn.functional.silu,
            atomic_energies=np.zeros(len(elements)),
            avg_num_neighbors=10.0,
            atomic_numbers=elements,
            correlation=correlation,
            atomic_inter_scale=1.0,
            atomic_inter_shift=0.0,
        )
        optimiser = torch.optim.Adam(model.parameters(), lr=1e-4)
        times = []
        for _ in range(steps + 2):
            begun = time.perf_counter()
            found = model(batch.to_dict(), training=True, compute_force=True)
            loss = found["energy"].square().mean() + (found["forces"] - batch["forces"]).square().mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            times.append(time.perf_counter() - begun)
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10  # the smaller model goes first
        print(f"  {f'mace-torch, correlation {correlation}':32} {1e3 * statistics.median(times[2:]):8.0f} ms {memory:6.0f} MiB")


if __name__ == "__main__":
    main()
