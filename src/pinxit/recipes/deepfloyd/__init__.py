"""DeepFloyd IF: a published cascade like Imagen's, opened from local folders in diffusers' layout."""
