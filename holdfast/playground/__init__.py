"""A local web page on which the base and the tuned model answer the same input side by side."""
