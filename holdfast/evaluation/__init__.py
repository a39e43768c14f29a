"""Measuring, which knows nothing of training: a model is asked, and its answers are marked."""
