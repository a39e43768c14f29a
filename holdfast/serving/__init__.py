"""An OpenAI-compatible endpoint on this machine, for what a run left: `holdfast serve`."""
