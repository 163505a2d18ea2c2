"""How many processes read clips, unless the user says otherwise."""

from flow.processors import usable_processors

# One keeps a CPU busy and two most GPUs; PyTorch warns of more readers than there are processors.
READERS = min(2, usable_processors())
