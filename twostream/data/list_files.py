"""Reading list files line by line, with errors that say where."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from flow.errors import InputError
from twostream.data.annotations import Video


def lines_of(path: Path) -> Iterator[tuple[str, str]]:
    """The lines of a text file that are not blank, stripped, each with where it stands."""
    for number, line in enumerate(text_of(path).split("\n"), start=1):
        if line.strip():
            yield f"{path}, line {number}", line.strip()


def text_of(path: Path) -> str:
    """A whole list; InputError where it is not there, or no UTF-8."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(
            f"The list {path} cannot be read ({error.strerror}); give the path of the lists."
        ) from None
    except UnicodeDecodeError:
        raise InputError(f"The list {path} is not UTF-8 text; save it as UTF-8.") from None


def located(where: str, name: str, label: int, group: str) -> Video:
    """A video of the file ``name``; an error says where it is listed."""
    try:
        # An empty name has no suffix to take off; Video refuses it.
        return Video(str(PurePosixPath(name).with_suffix("")) if name else "", label, group)
    except (InputError, ValueError) as error:
        raise InputError(f"{where}: {error}") from None
