"""Flat arrays answer as numpy does, with less memory."""

from unittest.mock import patch

import numpy as np
from finetune_trainer import arrays
from finetune_trainer.arrays import among
from hypothesis import given
from hypothesis import strategies as st

NUMBERS = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3), max_size=30)


@given(values=NUMBERS, few=NUMBERS, step=st.integers(1, 40))
def test_among_is_isin(values: list[int], few: list[int], step: int) -> None:
    one, other = np.array(values, np.int64), np.array(few, np.int64)

    with patch.object(arrays, "_STEP", step):
        assert among(one, other).tolist() == np.isin(one, other).tolist()
