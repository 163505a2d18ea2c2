"""What is wrong with an input, in one sentence that a user can act on."""

from pathlib import Path


class InputError(Exception):
    """An input that the user can mend: the message names it, the reason and what to do.

    The command line prints the message alone, without a traceback, and exits with status 2;
    work on many videos catches it for one video, records it and goes on.
    """


class PassingError(InputError):
    """What is wrong with the machine rather than with the input: another try may go well."""


def unreadable(path: Path, error: OSError) -> InputError:
    """What to raise where the operating system refuses to read a file."""
    return InputError(f"{path} cannot be read: {error.strerror}; mend its permissions or its disk.")
