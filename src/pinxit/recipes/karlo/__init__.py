"""Karlo: the published unCLIP of Kakao Brain, painted from a local folder in diffusers' layout."""
