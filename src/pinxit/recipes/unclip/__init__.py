"""unCLIP (DALL·E 2): a prior predicts CLIP image embeddings from captions, a diffusion decoder draws pictures."""
