"""What is looked at in each solve: what terms declare, what users state, what solvers return."""
