"""Weights on disk: this package's own files, and reading those of others."""
