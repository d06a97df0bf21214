"""A study with known truth, written as instrument files."""
