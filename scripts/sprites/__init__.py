"""The steps of `python -m scripts.build_sprites`: fetch, read the table of things, draw, pack, look."""
