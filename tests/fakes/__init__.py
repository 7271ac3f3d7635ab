"""Small data sets, detectors and videos that tests use in place of real ones."""
