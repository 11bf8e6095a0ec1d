"""Tensor products of channels with directions, in components."""

import pytest
import torch
from e3nn import o3

from cgdft.learning.channel_product import ChannelProduct, components_first, components_last


@pytest.mark.parametrize(("lmax_in", "lmax"), [(0, 1), (1, 1), (0, 2), (2, 2), (3, 3)])
def test_products_of_channels_are_those_of_e3nn(lmax_in, lmax):
    generator = torch.Generator().manual_seed(0)
    product, channels, n = ChannelProduct(lmax_in, lmax).double(), 3, 5
    harmonics = o3.Irreps.spherical_harmonics(lmax)
    inward = o3.Irreps([(channels, (degree, (-1) ** degree)) for degree in range(lmax_in + 1)])
    outward = o3.Irreps([(channels, (degree, (-1) ** degree)) for _, _, degree in product.paths])
    paths = [(a, b, k, "uvu", True) for k, (a, b, _) in enumerate(product.paths)]
    theirs = o3.TensorProduct(inward, harmonics, outward, paths, shared_weights=False, internal_weights=False).double()
    x = torch.randn(n, inward.dim, generator=generator, dtype=torch.float64)
    along = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    y = o3.spherical_harmonics(list(range(lmax + 1)), along, normalize=True, normalization="component")
    w = torch.randn(n, len(paths), channels, generator=generator, dtype=torch.float64)
    pairs = [one.unflatten(-2, (1, n)) for one in (components_first(x, channels), y.T[..., None])]
    sent = product(pairs[0], pairs[1][..., 0], w.unbind(1))
    found = components_last([one[:, 0] for one in sent])
    torch.testing.assert_close(found, theirs(x, y, w.flatten(1)), atol=1e-6, rtol=1e-6)  # their coefficients are of float32
