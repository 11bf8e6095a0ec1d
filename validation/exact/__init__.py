"""What density-functional theory says of the coarse functional itself: its values, its derivatives and its response."""
