"""Joins the predictions on the sets of ODinW into the file of its challenge.

python -m glip_jax.tools.odinw_submission --evals=runs/t/eval --out=all.json
python -m glip_jax.tools.odinw_submission --out=all_3_shot.json \
    --evals=3=runs/s3/eval,30=runs/s30/eval,300=runs/s300/eval

The first is of the zero-shot and full-shot tracks: {set: rows}, rows in COCO's
result format. The second is of the few-shot track: {set: {seed: rows}}. (The
format is that of microsoft/GLIP's README.)
"""

if __name__ == '__main__':
  from glip_jax import interrupting

  interrupting.end_at_once()  # While what follows is imported.

import json
import pathlib
from collections.abc import Sequence
from typing import Any

from absl import flags, logging

from glip_jax import configuring, errors, storage
from glip_jax.data.sources.odinw_sets import ODINW


def join(evals: Sequence[str], out: str) -> list[str]:
  """Writes the file of the challenge.

  Args:
    evals: the folder that eval.py wrote to, whose evaluations are named as the
      sets; or 'SEED=FOLDER' of each seed.
    out: the JSON file to write.

  Returns:
    The sets that are missing.

  Raises:
    UserError: folders hold no predictions on sets, or not on the same ones, or
      `evals` is of both kinds.
  """
  target = pathlib.Path(out).expanduser()
  storage.check_out('out', target)
  few = [text.partition('=') for text in evals if '=' in text]
  if not evals or len(few) not in (0, len(evals)) or len(evals) > 1 + len(few):
    raise errors.UserError(
        f'--evals={",".join(evals)} must be one folder that eval.py wrote to,'
        ' or SEED=FOLDER of each seed: 3=runs/a/eval,30=runs/b/eval,300=...'
    )
  if few:
    by_seed = {seed: _read(folder) for seed, _, folder in few}
    (first, sets), *others = by_seed.items()
    for seed, found in others:
      if differing := sorted(set(sets) ^ set(found)):
        raise errors.UserError(
            f'seeds {first} and {seed} are not of the same sets: only one has'
            f' {", ".join(differing)}'
        )
    joined = {
        name: {seed: found[name] for seed, found in by_seed.items()}
        for name in sets
    }
  else:
    joined = _read(evals[0])
  target.parent.mkdir(parents=True, exist_ok=True)
  target.write_text(json.dumps(joined))
  return [name for name in ODINW if name not in joined]


def _read(folder: str) -> dict[str, list[dict[str, Any]]]:
  """The rows of each set that a folder has."""
  errors.check_no_url('evals', folder)
  root = pathlib.Path(folder).expanduser()
  found = {}
  for name in ODINW:
    path = root / name / 'predictions.json'
    if path.is_file():
      found[name] = json.loads(path.read_text())
  if not found:
    raise errors.UserError(
        f'evals: {str(root)!r} has no SET/predictions.json of any set of ODinW:'
        ' give the --out of eval.py with --config=configs/odinw.py:T'
    )
  return found


def main(_: Sequence[str]):
  missing = join(flags.FLAGS.evals, flags.FLAGS.out)
  if missing:
    logging.warning(
        '%d of %d sets are missing: %s',
        len(missing),
        len(ODINW),
        ', '.join(missing),
    )
  print(f'{flags.FLAGS.out} holds {len(ODINW) - len(missing)} sets')


if __name__ == '__main__':
  flags.DEFINE_list(
      'evals', None, 'Folder of eval.py, or SEED=FOLDER of each.', required=True
  )
  flags.DEFINE_string('out', 'all_predictions.json', 'File to write.')
  configuring.run(main)
