"""Many calculations at once: what is computed, where, and the file of their results."""
