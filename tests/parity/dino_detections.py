"""Detections of Grounding DINO under the rule of Hugging Face's processor.

Matched one to one: a detection is named by the tokens over a threshold, which
must be the same, and its box and score lie as near as boxes and logits may.
"""

import jax
import numpy as np

from parity import detections, dino, dino_stages


def shares(name: str) -> dict[str, float]:
  """Share of the stored detections that ours match, by run and thresholds."""
  found = {}
  for run in ('det', 'alone0', 'alone1'):
    for stored in dino.stored(name).summary[f'{run}_postprocess']:
      limits = stored['threshold'], stored['text_threshold']
      mine = detected(name, run, *limits)
      for i, want in enumerate(stored['results']):
        row = i if run == 'det' else int(run[-1])
        what = f'{run} image {row} over {limits[0]}, tokens {limits[1]}'
        found[what] = _share(name, row, want, mine)
  return found


def detected(name: str, run: str, threshold: float, text_threshold: float):
  """Detections of both images of a run."""
  stored = dino.stored(name)
  alone = run != 'det'
  outputs, _ = dino_stages.outputs_of(name, 'alone' if alone else run)
  batch = stored.batch('det', alone=alone)
  recipe = stored.with_decode(rule='hf', max_detections=outputs.logits.shape[1])
  decode = jax.jit(recipe.decode)
  limits = dict(score_threshold=threshold, text_threshold=text_threshold)
  return jax.tree.map(np.asarray, decode(outputs, batch, **limits))


def _share(name: str, row: int, want: dict, mine) -> float:
  h, w = dino.stored(name).sizes[row]
  corners = np.clip(np.reshape(want['boxes_xyxy'], (-1, 4)), 0, [w, h, w, h])
  names = [','.join(map(str, tokens)) for tokens in want['token_positions']]
  valid = mine.valid[row]
  own = [
      ','.join(map(str, np.flatnonzero(tokens)))
      for tokens in mine.tokens[row][valid]
  ]
  return detections.matched(
      (corners, np.array(want['scores']), names),
      (mine.boxes[row][valid], mine.scores[row][valid], np.array(own)),
      box=dino_stages.BOXES[name] * max(h, w),
      # The sigmoid's slope is at most a quarter.
      score=dino_stages.LOGITS[name] / 4,
  )
