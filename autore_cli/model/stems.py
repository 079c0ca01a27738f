"""What prompts behind the same passage begin with alike is read once, as a stem that all of them see.

country | Oslo | Norway ?          country |            stem of all three
country | Oslo | Sweden ?                    Oslo |     stem of the first two
country | Turin | Italy ?                           Norway ?   Sweden ?   Turin | Italy ?
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

from autore_cli.model.packing import Run

Tokens = Sequence[int]


class Shared(NamedTuple):
    """Prompts, taken apart.

    Attributes:
        stems: what some of them begin with; a stem stands in front of those that go on from it.
        rests: what is left of each prompt: at least its last token, whose logits are its answer.
    """

    stems: list[Run]
    rests: list[Run]


def share(prompts: Sequence[Tokens], segment: int, position: int) -> Shared:
    """Takes prompts apart, each of one token or more.

    Args:
        prompts: in alphabetical order, so that those that begin alike stand side by side.
        segment: of the first; they are numbered from there.
        position: of their first tokens.
    """
    alike = [0, *(common(one, other) for one, other in pairwise(prompts)), 0]
    stems: list[Run] = []
    growing: list[tuple[int, int]] = []  # stems that the next prompt may still see: first prompt, length
    for index in range(1, len(alike)):
        first = index - 1
        while growing and growing[-1][1] > alike[index]:
            first, end = growing.pop()
            start = max(alike[index], growing[-1][1] if growing else 0)
            stems.append(Run(segment + first, position + start, prompts[first][start:end], index - first))
        if alike[index] > (growing[-1][1] if growing else 0):
            growing.append((first, alike[index]))
    rests = []
    for index, prompt in enumerate(prompts):
        start = max(alike[index], alike[index + 1])
        rests.append(Run(segment + index, position + start, prompt[start:]))
    return Shared(sorted(stems, key=lambda stem: stem.position), rests)


def common(one: Tokens, other: Tokens) -> int:
    """How many tokens two prompts begin with alike, the last of either left out."""
    most = max(0, min(len(one), len(other)) - 1)
    return next((place for place in range(most) if one[place] != other[place]), most)
