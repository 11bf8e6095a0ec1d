"""Named models, one a file: each a declaration in the words of the package, with its source."""
