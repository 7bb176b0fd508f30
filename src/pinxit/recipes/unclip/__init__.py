"""unCLIP: a prior tells what a CLIP would see in a picture of the caption, a decoder draws such a picture."""
