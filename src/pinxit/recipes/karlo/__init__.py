"""Karlo: the published unCLIP of Kakao Brain, opened from a local folder in diffusers' layout."""
