"""Two-stream action recognition with Pseudo-3D ResNets: train, score, fuse, evaluate."""
