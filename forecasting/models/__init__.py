"""Local model families: one contract, one registry."""
