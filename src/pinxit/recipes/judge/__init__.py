"""The judge: a detector that reports what is in a picture; its training and its checkpoints."""
