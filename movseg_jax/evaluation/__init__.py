"""Evaluating predictions on disk: which protocol asks what of whom, checked and said.

`job` measures. `protocols` says what, by `groups`; `truth` and `predictions` read, and
`matching` pairs their frames, or refuses. `scoring` is what `workers` do; `bootstrap`
gives intervals; `reporting` writes what a reader gets: `results`, `tables`, `page`.
"""
