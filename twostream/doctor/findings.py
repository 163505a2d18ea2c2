"""What the doctor says: findings, each of any number of videos, and the diagnosis."""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Literal

Severity = Literal["fault", "note"]


@dataclass(frozen=True)
class Case:
    """What a finding is about, and more on it where there is.

    The name is a path below the folder of videos, the id of a video that is not there, a class, or
    a group.
    """

    name: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.detail}" if self.detail else self.name


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong ("fault") or worth knowing ("note").

    Attributes:
        severity: Faults make a data set unsound.
        check: What was looked at, in a word or two: the same for all data sets.
        message: One sentence or two.
        cases: All that it is about.
    """

    severity: Severity
    check: str
    message: str
    cases: tuple[Case, ...] = ()


@dataclass(frozen=True)
class Diagnosis:
    """Everything that was found.

    Attributes:
        summary: What the data set is, in lines.
        findings: Faults and notes.
    """

    summary: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def sound(self) -> bool:
        """Whether no fault was found."""
        return not any(finding.severity == "fault" for finding in self.findings)

    def text(self, shown: int = 3) -> str:
        """For people: the summary, each finding with its first ``shown`` cases, the verdict."""
        return "\n".join([*map(printable, self.summary), *self._lines(shown), self.verdict()])

    def verdict(self) -> str:
        """The last line."""
        faults = sum(finding.severity == "fault" for finding in self.findings)
        notes = len(self.findings) - faults
        counts = f"{count(faults, 'fault')}, {count(notes, 'note')}"
        return f"sound: {counts}" if self.sound else f"not sound: {counts}"

    def to_json(self) -> str:
        """For programs: everything, with every case."""
        values = {"sound": self.sound, "summary": self.summary}
        findings = [asdict(finding) for finding in self.findings]
        return json.dumps(values | {"findings": findings}, indent=1) + "\n"

    def _lines(self, shown: int) -> Iterator[str]:
        for finding in sorted(self.findings, key=lambda finding: finding.severity):
            yield printable(f"{finding.severity:5}  {finding.check}: {finding.message}")
            for case in finding.cases[:shown]:
                yield f"         {printable(str(case))}"
            if len(finding.cases) > shown > 0:
                yield f"         and {len(finding.cases) - shown:,} more"


def printable(text: str) -> str:
    """A text on one line that any terminal shows: names may hold line breaks and stray bytes."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def count(number: int, what: str) -> str:
    """A number and what it is of: 1 video, 2,000 videos, no copies, 101 classes."""
    ending = {"y": what[:-1] + "ies", "s": what + "es"}
    many = ending.get(what[-1], what + "s")
    return f"1 {what}" if number == 1 else f"{number:,} {many}" if number else f"no {many}"
