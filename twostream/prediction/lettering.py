"""Lettering for pictures, in whatever script the names of classes are."""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from PIL import features
from PIL.ImageFont import FreeTypeFont, Layout, truetype

_MISSING = "\N{REPLACEMENT CHARACTER}"


@lru_cache(maxsize=256)
def font_for(text: str, pixels: int) -> FreeTypeFont:
    """A font that has the signs of the text: DejaVu Sans, or else the system's that has most."""
    wanted = frozenset(sign for sign in text if not sign.isspace())
    # Raqm joins and orders letters as Arabic and Hindi need it; Pillow may come without.
    layout = Layout.RAQM if features.check("raqm") else Layout.BASIC
    return truetype(str(_path_for(wanted)), pixels, layout_engine=layout)


def shortened(text: str, pixels: int, width: float) -> str:
    """The text without its middle where it is wider than ``width`` in letters of that size."""
    text = " ".join("".join(sign if sign.isprintable() else _MISSING for sign in text).split())
    font = font_for(text, pixels)
    if font.getlength(text) <= width:
        return text
    fits, too_many = 0, len(text)  # of its signs: bisection, as names can be long
    while too_many - fits > 1:
        middle = (fits + too_many) // 2
        if font.getlength(_without_middle(text, middle)) <= width:
            fits = middle
        else:
            too_many = middle
    return _without_middle(text, fits)


def _without_middle(text: str, kept: int) -> str:
    return f"{text[: (kept + 1) // 2]}…{text[len(text) - kept // 2 :]}"


@lru_cache(maxsize=256)
def _path_for(wanted: frozenset[str]) -> Path:
    """The file of the first font with all of these signs, or else of that with the most."""
    best, most = _dejavu(), -1
    for path in _fonts():
        has = len(wanted & _signs(path))
        if has > most:
            best, most = path, has
        if most == len(wanted):
            break
    return best


def _fonts() -> Iterator[Path]:
    """DejaVu Sans, which comes with matplotlib, and then those of the system."""
    yield _dejavu()
    yield from _of_system()


def _dejavu() -> Path:
    from matplotlib import get_data_path

    return Path(get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")


@lru_cache(maxsize=1)
def _of_system() -> tuple[Path, ...]:
    from matplotlib.font_manager import findSystemFonts

    return tuple(map(Path, sorted(findSystemFonts())))


@lru_cache(maxsize=512)
def _signs(path: Path) -> frozenset[str]:
    """The signs that a font has; none where it cannot be read, or is one of pictures."""
    from matplotlib.ft2font import FT2Font

    try:
        truetype(str(path), 16)
        codes: Iterable[int] = FT2Font(str(path)).get_charmap()
    except (OSError, RuntimeError, ValueError):
        return frozenset()
    return frozenset(map(chr, codes))
