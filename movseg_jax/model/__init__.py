"""The detector: from a frame and its flow to boxes, scores and masks; its weights."""
