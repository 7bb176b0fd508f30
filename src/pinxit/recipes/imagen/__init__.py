"""Imagen: a frozen language model reads, a cascade of diffusion models draws."""
