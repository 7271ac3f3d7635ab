"""Segmenting a video: frames, flow, detections, tracks, files."""
