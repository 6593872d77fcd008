"""Lists that a page shows in numbered parts, because all of one may be thousands of entries."""

from dataclasses import dataclass, replace

from receiver.web.console.forms import read_query

# No list has so many parts that a number needs more digits.
MOST_DIGITS = 9


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a list, by the list's name in the URL; the first is number 1.

    from_end: page 1 has the end of the list.
    """

    name: str
    number: int
    size: int
    total: int
    from_end: bool = False

    @property
    def pages(self) -> int:
        """How many pages there are, at least one."""
        return max(1, -(-self.total // self.size))

    @property
    def before(self) -> int:
        """How many entries of the list come before this page."""
        if self.from_end:
            return max(0, self.total - self.number * self.size)
        return (self.number - 1) * self.size

    @property
    def last(self) -> int:
        """The position of the page's last entry in the list."""
        if self.from_end:
            return self.total - (self.number - 1) * self.size
        return min(self.before + self.size, self.total)

    @property
    def length(self) -> int:
        """How many entries this page has."""
        return self.last - self.before


def read_part(name: str, size: int, total: int, from_end: bool = False) -> Part:
    """Return the part of a list that the URL asks for; the last one where it has fewer parts."""
    given = read_query()[name]
    number = int(given) if given.isascii() and given.isdigit() and len(given) <= MOST_DIGITS else 1
    part = Part(name, max(1, number), size, total, from_end)
    return replace(part, number=min(part.number, part.pages))
