"""Side-by-side measurements against the libraries that one would otherwise use. Not installed with holdfast."""
