"""The truths of the closed loops, one file each."""
