"""Scores of a run as a terminal table, one self-contained page, and a model card."""
