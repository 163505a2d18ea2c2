"""The confusion matrix as squares to draw, legible however many classes there are."""

from dataclasses import dataclass

import numpy as np

from twostream.evaluation import Evaluation

FEW, SOME = 12, 30  # classes, up to which squares are large, or hold their number


@dataclass(frozen=True)
class Square:
    """Videos of class ``row`` that were taken for ``column``, and their share of the class."""

    row: int
    column: int
    videos: int
    share: float

    @property
    def right(self) -> bool:
        """Whether it lies on the diagonal."""
        return self.row == self.column


@dataclass(frozen=True)
class Matrix:
    """The squares that are not empty.

    Attributes:
        names: Of the classes, in the order of rows and columns.
        squares: From the first row to the last.
        side: Of a square in pixels.
        numbered: Whether there is room for numbers in the squares.
    """

    names: tuple[str, ...]
    squares: tuple[Square, ...]
    side: int
    numbered: bool

    @property
    def total(self) -> int:
        """Height and width of all squares in pixels."""
        return self.side * len(self.names)


def matrix(evaluation: Evaluation) -> Matrix:
    """The matrix of an evaluation."""
    confusion, classes = evaluation.confusion, len(evaluation.classes)
    totals = confusion.sum(axis=1)
    squares = tuple(
        Square(int(i), int(j), int(confusion[i, j]), float(confusion[i, j] / totals[i]))
        for i, j in zip(*np.nonzero(confusion), strict=True)
    )
    side = 40 if classes <= FEW else 28 if classes <= SOME else 14
    return Matrix(evaluation.classes, squares, side, classes <= SOME)
