"""Every random number of a run is a function of the seed and of where the run stands."""

from __future__ import annotations

import numpy as np

ORDER, DRAW, STEP = 1, 2, 3
"""What a number is for: the order of an epoch, drawn labels, a step's augmentation and the model's own dropping."""


def seed_for(*parts: int) -> int:
    """One 63-bit seed from integers such as (seed, epoch, purpose): unlike sums, no two are alike by accident.

    numpy takes missing parts at the end for zeros, so the last part should not be one.
    """
    return int(np.random.SeedSequence(parts).generate_state(1, np.uint64)[0] >> 1)
