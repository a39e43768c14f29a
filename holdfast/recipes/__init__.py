"""Whole experiments as Python functions from `Fields` to stages, found by folder; the last stage is the tuned model."""
