"""Measuring, which knows nothing of training: a model is asked, its answers are marked, and the marks get honest intervals."""
