"""Data: sets of annotated videos and images, rendered scenes, transforms, loader."""
