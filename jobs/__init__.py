"""What a person runs: one verb a file, and the command line."""
