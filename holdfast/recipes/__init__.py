"""Whole experiments as Python functions from `RecipePlan` to stages, found by folder; the last stage is the tuned model."""
