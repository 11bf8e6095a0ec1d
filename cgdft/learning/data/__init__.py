"""Frames: structures with what is known of them, read from files, checked, and loaded in batches."""
