"""Two-stream action recognition with Pseudo-3D ResNets: train, score, fuse, evaluate."""

import os

# OpenMP's threads, waiting for the next layer, spin for a moment and then sleep, while flow and
# readers need their processors. With libgomp's own count, of 300,000, a video's prediction takes
# 1.3 times as long on 2 processors; without spinning a network alone 1.1 times. Read when torch is
# first imported.
if "OMP_WAIT_POLICY" not in os.environ:
    os.environ.setdefault("GOMP_SPINCOUNT", "2000")
