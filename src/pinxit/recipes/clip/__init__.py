"""CLIP: pictures and sentences in one space."""
