"""Benchmarks: each is a command with `--json`, and measures its own floor or its peers in the same run."""
