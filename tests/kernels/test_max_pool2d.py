import numpy as np
import pytest

import genfast
from genfast import ops

ISAS = genfast.cpu_info()["isas"]


@pytest.mark.parametrize("isa", ISAS)
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("threads", [1, 3])
def test_matches_definition(rng, isa, size, threads):
    x = rng.normal(size=(2, 19, 7, 6)).astype(np.float32)
    height, width = 7 // size, 6 // size
    blocks = x[:, :, : height * size, : width * size]
    expected = blocks.reshape(2, 19, height, size, width, size).max((3, 5))
    assert ops.max_pool2d(x, size, isa=isa, threads=threads).tobytes() == expected.tobytes()


def test_wrong_sizes_are_refused():
    x = np.ones((1, 4, 3, 3), np.float32)
    for size in (0, 4):
        with pytest.raises(ValueError, match=f"size={size} must be 1 to the sides of an image of"):
            ops.max_pool2d(x, size)
