"""Training: data parallel, stage by stage, resumable to the bit."""
