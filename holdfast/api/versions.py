"""Versions of the libraries that make the numbers, from their metadata: none is imported."""

from importlib.metadata import PackageNotFoundError, version

LIBRARIES = ("holdfast", "torch", "transformers", "peft", "accelerate", "sacrebleu")


def library_versions() -> dict[str, str]:
    """Return the version of each library; "source" for one that is not installed as a package."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "source"  # Run from a checkout.
    return versions
