"""Lists that follow from numbers, for sets too large to spell out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar, overload

T = TypeVar("T")


class Numbered(Sequence[T]):
    """What ``make`` says of each number, made when it is asked for; picklable where ``make`` is."""

    def __init__(self, numbers: range, make: Callable[[int], T]) -> None:
        self.numbers, self.make = numbers, make

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[T]: ...
    def __getitem__(self, index: int | slice) -> T | Sequence[T]:
        if isinstance(index, slice):
            return Numbered(self.numbers[index], self.make)
        return self.make(self.numbers[index])
