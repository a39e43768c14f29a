"""Studies: many runs over methods, targets and seeds, and what follows from them together."""
