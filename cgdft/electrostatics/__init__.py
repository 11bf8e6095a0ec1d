"""The Coulomb interaction of Gaussian multipoles: the only place with kernels."""
