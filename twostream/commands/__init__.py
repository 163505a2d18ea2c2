"""The commands of python -m twostream, one a file."""
