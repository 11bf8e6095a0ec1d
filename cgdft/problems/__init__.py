"""What is to be solved: a minimum of the energy, or what answers to its own potential."""
