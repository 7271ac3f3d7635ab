"""Small videos of objects and tracks, as hypothesis draws them."""

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


@st.composite
def sequences(draw):
    """Objects, tracks and void pixels of a video, in blocks of two pixels."""
    size = draw(st.integers(1, 5)), draw(st.integers(1, 4)), draw(st.integers(1, 5))
    truths = draw(arrays(np.int32, size, elements=st.sampled_from([0, 2, 3, 7])))
    founds = draw(arrays(np.int32, size, elements=st.sampled_from([0, 1, 4, 5, 9])))
    voids = draw(arrays(bool, size, elements=st.sampled_from([False, False, True])))
    return tuple(
        np.kron(a, np.ones((1, 2, 2), a.dtype)) for a in (truths, founds, voids)
    )
