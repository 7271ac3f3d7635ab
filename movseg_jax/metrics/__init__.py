"""How good detections and tracks are: measures of COCO, DAVIS and FBMS, in NumPy."""
