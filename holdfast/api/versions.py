"""Versions of the libraries that make the numbers, from their metadata: none is imported."""

from importlib.metadata import PackageNotFoundError, version

from holdfast.models.fingerprint import revision

LIBRARIES = ("holdfast", "torch", "transformers", "peft", "accelerate", "sacrebleu")


def library_versions(*models: str) -> dict[str, str]:
    """Return the version of each library, "source" for one that is not installed as a package; and the commit of each hub's model."""
    versions = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "source"  # Run from a checkout.
    versions |= {model: commit for model in models if (commit := revision(model))}
    return versions
