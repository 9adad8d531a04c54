"""Detections in the three prompt modes, matched one to one."""

import jax
import numpy as np

from parity import reference

# Key in the reference -> the prompt whose outputs are decoded: category names,
# phrases of a sentence, and every token as a class of its own.
MODES = {'det': 'det', 'grd': 'grd', 'det_pertoken': 'det'}
BOX, SCORE = 0.05, 1e-3  # Pixels, and score.

Found = tuple[np.ndarray, np.ndarray, np.ndarray]  # Boxes, scores, labels.


def shares(name: str) -> dict[str, float]:
  """Share of the stored detections that ours match one to one, by prompt."""
  recipe, _ = reference.model(name)
  arrays = reference.stored(name)
  decode = jax.jit(recipe.decode)
  result = {}
  for key, prefix in MODES.items():
    spans, names = _spans(arrays, key, prefix)
    spans = np.broadcast_to(spans, (2, *spans.shape))
    outputs, _ = reference.run(name, prefix)
    found = decode(outputs, reference.prompt_batch(name, prefix, spans))
    stem = key if key == 'det_pertoken' else f'{key}_dets'
    for i in range(2):
      want = stored(arrays, f'{stem}_img{i}_{{}}')
      mine = labelled(found, i, names)
      result[f'{key} image {i}'] = matched(want, mine)
  return result


def stored(arrays, key: str, boxes: str = 'boxes') -> Found:
  """The reference's detections under a key with a gap, from edge to edge."""
  names = (boxes, 'scores', 'labels')
  corners, *others = (arrays[key.format(name)] for name in names)
  return (reference.to_edges(corners), *others)


def labelled(found, row: int, names: np.ndarray) -> Found:
  """The valid detections of one image, with the reference's labels."""
  valid = np.asarray(found.valid[row])
  return (
      np.asarray(found.boxes[row])[valid],
      np.asarray(found.scores[row])[valid],
      names[np.asarray(found.labels[row])[valid]],
  )


def matched(
    want: Found, mine: Found, *, box: float = BOX, score: float = SCORE
) -> float:
  """Share matched one to one: same label, box within `box`, score near.

  Two empty sets match. Boxes are xyxy, of one convention in both.
  """
  free = np.ones(len(mine[0]), bool)
  hits = 0
  for corners, chance, label in zip(*want, strict=True):
    close = (
        free
        & (mine[2] == label)
        & (np.abs(mine[0] - corners).max(axis=1, initial=0) < box)
        & (np.abs(mine[1] - chance) < score)
    )
    if close.any():
      free[np.flatnonzero(close)[0]] = False
      hits += 1
  count = max(len(want[0]), len(mine[0]))
  return hits / count if count else 1.0


def _spans(arrays, key, prefix):
  """(bool[c t] spans, the reference's label of each) of a stored prompt."""
  if key == 'det_pertoken':
    # Every token between [CLS] and [SEP] is a class of its own.
    tokens = np.arange(1, arrays['det_attention_mask'][0].sum() - 1)
    return np.eye(256, dtype=bool)[tokens], tokens
  return reference.positive_map(arrays[f'{prefix}_positive_map_json'])
