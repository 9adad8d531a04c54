"""A long list of category names as several prompts.

A prompt holds a few dozen names at most, so data sets with a thousand or more
are detected chunk by chunk, and detections of all chunks are joined.
"""

from collections.abc import Sequence

from glip_jax import errors
from glip_jax.text import prompts


def split_names(
    names: Sequence[str], size: int, separator: str = '. '
) -> list[tuple[int, prompts.TextPrompt]]:
  """Splits names into prompts of equal numbers, as GLIP's chunked evaluation.

  TEST.CHUNKED_EVALUATION of the reference, which takes 40 for LVIS. Phrase c of
  a prompt is `names[first + c]`, so `first + label` is the category of what is
  detected with it. The last prompt may be shorter.

  Args:
    names: category names in label order.
    size: names in a prompt; 0 puts all into one.
    separator: what stands between two names.

  Returns:
    (first, prompt) of every chunk, in order.

  Raises:
    UserError: the size is negative, or names are none that a prompt can have
      (see `prompts.from_names`).
  """
  if size < 0:
    raise errors.UserError(
        f'size={size} must be 0 (one prompt) or more names in each prompt'
    )
  step = size or max(len(names), 1)
  starts = range(0, max(len(names), 1), step)
  return [
      (first, prompts.from_names(names[first : first + step], separator))
      for first in starts
  ]
