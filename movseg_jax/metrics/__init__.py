"""Metrics of detections and tracks, those of COCO, DAVIS and FBMS, in NumPy."""
