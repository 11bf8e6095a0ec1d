"""What every term, solver and model must pass, those of the package and a user's own."""
