"""Tracks as files: those of data sets, of other tools, and pictures to work with."""
