"""Numbers about samples of one image. Every function takes images (B, 3, H, W) in [-1, 1]."""
