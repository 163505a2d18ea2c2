"""Which videos, which frames, which part of the picture: from a store to clips for a network."""
