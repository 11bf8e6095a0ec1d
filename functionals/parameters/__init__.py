"""Functions of the structure that terms take as parameters, one a file."""
