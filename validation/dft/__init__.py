"""Density-functional answers of one molecule or crystal: what is asked for, PySCF's side of it, and how it is kept."""
