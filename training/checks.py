"""What is wrong with labelled images, found before a model learns it."""

from collections.abc import Iterable, Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from canicor.errors import InvalidArgument
from canicor.fingerprint import SAME_PICTURE, differing, fingerprint
from canicor.manifest import Row

_SHOWN = 20


def shared_pictures(rows: Sequence[Row], pictures: Iterable[NDArray[np.uint8]]) -> list[str]:
    """Returns what speaks against the splits: radiographs of which two of them hold a file.

    Args:
        rows: With their splits.
        pictures: Each row's, uint8 [height, width] of any size.
    """
    prints = np.array([fingerprint(one) for one in pictures])
    splits = np.array([row.split for row in rows])
    problems = []
    for one, other in combinations(dict.fromkeys(splits.tolist()), 2):
        second = np.flatnonzero(splits == other)
        for number in np.flatnonzero(splits == one).tolist():
            same = differing(prints[number], prints[second]) <= SAME_PICTURE
            problems += [
                f"{rows[number].image_url} ({one}) shows what {rows[copy].image_url} ({other}) shows"
                for copy in second[same].tolist()
            ]
    return problems


def refuse(problems: Sequence[str]) -> None:
    """Stops where there are problems.

    Raises:
        InvalidArgument: BAD_DATASET, with the first of them line by line.
    """
    if not problems:
        return
    shown = [f"\n  {problem}" for problem in problems[:_SHOWN]]
    if len(problems) > _SHOWN:
        shown.append(f"\n  and {len(problems) - _SHOWN} more")
    what = "a problem" if len(problems) == 1 else f"{len(problems)} problems"
    raise InvalidArgument(f"The dataset has {what}:{''.join(shown)}", reason="BAD_DATASET", field="manifest")
