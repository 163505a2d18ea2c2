"""A program that has two tasks done by Ray, at the address of a cluster or else on its own."""

import sys

import misbehaving
from flow import engine_ray

if __name__ == "__main__":
    address = sys.argv[1] if sys.argv[1:] else None
    for event in engine_ray.run(misbehaving.work, ["asleep", "asleep"], 2, address=address):
        print(event.amount, flush=True)
