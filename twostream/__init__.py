"""Two-stream action recognition with Pseudo-3D ResNets: train, score, fuse, evaluate."""

import os

# OpenMP's threads, waiting for the next layer, else spin on processors that flow and readers need:
# prediction is 1.26 times, training 1.1 times as fast, a network alone as fast as before (2 cores).
# Read when torch is first imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
