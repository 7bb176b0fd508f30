"""The judge: a detector that says what is in a picture, and how it is trained and kept."""
