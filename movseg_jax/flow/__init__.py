"""Optical flow on the host: float32 [h, w, 2], displacement (x, y) in pixels."""
