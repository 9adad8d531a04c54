"""The plain forms of the fast operations, which the tests keep as oracles."""

import pathlib
import sys

sys.path.append(str(pathlib.Path(__file__).parents[1] / 'tests' / 'ops'))

import plain_bi_attention  # noqa: E402
import plain_deform_conv  # noqa: E402
import plain_nms  # noqa: E402
import plain_resample  # noqa: E402

__all__ = [
    'plain_bi_attention',
    'plain_deform_conv',
    'plain_nms',
    'plain_resample',
]
