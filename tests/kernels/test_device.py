"""What launchers ask of a device, they ask once: attributes cost as much as a launch."""

from __future__ import annotations

import numpy as np

from tests.kernels import test_spectral_mask as mask
from tests.kernels.conftest import Emulate
from tests.kernels.emulation.run import Device
from tests.kernels.tensors import HALF, LINEAR

LARGE = Device(shared_bytes=160_000)  # where two blocks' planes of 128 x 256 halves fit, and need leave
SMALL = Device(shared_bytes=60_000)


def test_attributes_are_asked_for_and_leave_is_given_once_for_each_device(emulate: Emulate) -> None:
    operator, tensors = emulate(mask.OPERATOR), mask.tensors_of(mask.Case((1, 1, 128, 256), radius=2))
    before = operator.attribute_calls()
    first = mask.run(operator, tensors, HALF, LINEAR, LARGE)
    asked = operator.attribute_calls()
    # Three attributes, one kernel's leave, and the blocks at once of two; the three schedules share them.
    assert asked - before == 3 + 1 + 2
    np.testing.assert_array_equal(mask.run(operator, tensors, HALF, LINEAR, LARGE), first)
    assert operator.attribute_calls() == asked
    mask.run(operator, tensors, HALF, LINEAR, SMALL)
    assert operator.attribute_calls() - asked == 3 + 1  # two passes, which need no leave
