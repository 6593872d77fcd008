"""The table of the bench: what was measured against what, the ratio, whether the goal is met."""

import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

median = statistics.median


@dataclass(frozen=True, slots=True)
class Figure:
    """One line. ours, theirs: medians with their units; ratio: the median of the rounds' ratios."""

    what: str
    against: str
    ours: str
    theirs: str
    ratio: float
    goal: str
    met: bool


@dataclass(frozen=True, slots=True)
class Goal:
    """What a ratio or a value has to be."""

    most: float | None = None
    least: float | None = None
    unit: str = "x"

    def met_by(self, value: float) -> bool:
        return (self.least is None or value >= self.least) and (
            self.most is None or value <= self.most
        )

    def __str__(self) -> str:
        bounds = [f">= {self.least:g}{self.unit}"] if self.least is not None else []
        bounds += [f"<= {self.most:g}{self.unit}"] if self.most is not None else []
        return ", ".join(bounds)


def compare(
    what: str,
    against: str,
    ours: Sequence[float],
    theirs: Sequence[float],
    goal: Goal,
    shown: Callable[[float], str] = "{:,.0f}/s".format,
) -> Figure:
    """Two series, measured round by round beside each other."""
    ratio = median(one / max(other, 1e-9) for one, other in zip(ours, theirs, strict=True))
    return Figure(
        what,
        against,
        shown(median(ours)),
        shown(median(theirs)),
        ratio,
        str(goal),
        goal.met_by(ratio),
    )


def absolute(
    what: str, against: str, values: Sequence[float], goal: Goal, shown: Callable[[float], str]
) -> Figure:
    """A series that has a bound of its own; the ratio is to the bound."""
    value = median(values)
    bound = goal.most if goal.most is not None else goal.least or 1
    return Figure(what, against, shown(value), "", value / bound, str(goal), goal.met_by(value))


def milliseconds(value: float) -> str:
    return f"{value:.1f} ms" if value < 100 else f"{value:.0f} ms"


def megabytes(value: float) -> str:
    return f"{value:.0f} MB"


def as_text(figures: Sequence[Figure]) -> str:
    """The table for people; it is Markdown, so that it can be put into the README as it is."""
    head = ("what", "against", "ours", "theirs", "ratio", "goal", "")
    lines = [head, *map(_cells, figures)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    rule = tuple("-" * width for width in widths)

    def row(cells: Sequence[str]) -> str:
        return "| " + " | ".join(map(str.ljust, cells, widths)) + " |"

    return "\n".join(row(line) for line in [head, rule, *lines[1:]])


def _cells(figure: Figure) -> tuple[str, ...]:
    verdict = "met" if figure.met else "NOT MET"
    ratio = f"{figure.ratio:.2f}"
    return (figure.what, figure.against, figure.ours, figure.theirs, ratio, figure.goal, verdict)


def as_json(figures: Sequence[Figure], circumstances: dict[str, object]) -> str:
    """The same for machines."""
    told = {**circumstances, "figures": [asdict(figure) for figure in figures]}
    return json.dumps(told, indent=1)
