"""Evaluating predictions on disk: reading, matching, measuring and reporting.

`evaluate` measures a folder of predictions by one of `protocols`, which choose the
metrics, the data set and the frames. `truth` and `predictions` read both sides,
`matching` pairs their frames, and `scoring` measures one sequence, in worker processes.
`results` computes the numbers, with intervals by `bootstrap`. `reporting` prints them
and writes the files, one of which is `metrics_page`. `coco` measures files of results
in COCO's format.
"""
