"""Results as pictures and words: a run, several side by side, a study; for a terminal, as a self-contained page, as a model card."""
