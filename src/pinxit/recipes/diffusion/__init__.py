"""What the recipes that denoise share: configs, conditions, denoiser, training task, painter, upsampler."""
