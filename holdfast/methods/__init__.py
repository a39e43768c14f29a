"""During training: one file per method, found by folder."""
