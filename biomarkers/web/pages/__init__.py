"""The pages, one module each; every address names the right it needs."""
