"""Grand potentials, duals of local terms, for densities that answer to a potential; one a file."""
