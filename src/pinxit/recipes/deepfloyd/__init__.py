"""DeepFloyd IF: the published cascade of Imagen's kind, painted from local folders in diffusers' layout."""
