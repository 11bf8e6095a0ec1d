"""Training: predictions with a graph, losses, ways to train, the loop, and files of what was learnt."""
