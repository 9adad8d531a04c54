"""What a split of the embedded world can be opened with."""

import math
from collections.abc import Mapping

from glip_jax import errors
from glip_jax.shapes import compose

PROMPTS = (
    'all',
    'list',
    'attributes',
    'caption',
    'relation',
    'statements',
    'partial',
)


def check(
    split: str,
    seed: int,
    num_images: int,
    image_size: int,
    prompts: Mapping[str, float],
    fine: bool,
) -> None:
  """Refuses what a source cannot be opened with.

  Raises:
    UserError: an argument is out of range or unknown.
  """
  if split not in compose.SPLITS:
    raise errors.UserError(
        f'split={split!r} is unknown: use one of {compose.SPLITS}'
    )
  if seed < 0:
    raise errors.UserError(f'seed={seed} is negative: use 0 or more')
  if num_images < 1:
    raise errors.UserError(f'num_images={num_images}: use 1 or more')
  if image_size < 32:
    raise errors.UserError(
        f'image_size={image_size} is too small to tell shapes: use 32 or more'
    )
  for name, weight in prompts.items():
    if name not in PROMPTS:
      raise errors.UserError(
          f'prompts has the unknown kind {name!r}: use kinds of {PROMPTS}'
      )
    if not 0 <= weight < math.inf:
      raise errors.UserError(
          f'prompts[{name!r}]={weight} is no weight: use 0 or more'
      )
  if not sum(prompts.values()):
    raise errors.UserError(
        f'prompts={dict(prompts)} has no weight above 0: give one kind a 1'
    )
  if fine and any(weight for name, weight in prompts.items() if name != 'all'):
    raise errors.UserError(
        f'fine=True names classes, and prompts={dict(prompts)} are sentences or'
        " lists of others: give prompts={'all': 1}, or leave fine out"
    )
