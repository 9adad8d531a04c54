"""Evaluates a checkpoint: restore, run config.evals, print, write.

  python eval.py --workdir=runs/shapes
  python eval.py --workdir=runs/shapes --step=best --per_class
  python eval.py --config=configs/shapes.py --workdir=runs/shapes \
      --config.evals.val.batch_size=8
  python eval.py --config=configs/coco.py:T --out=runs/glip_t \
      --weights=glip_tiny_model_o365_goldg_cc_sbu.pth \
      --config.evals.val.data.annotations=instances_val2017.json \
      --config.evals.val.data.images=val2017

The last one needs no training run: --weights takes released files as they are,
and names of released models, `--weights=glip_t` (docs/weights.md).
`--expect='val/AP=46.6+-0.2'` fails, with status 1 and one line, where a number
of the tables is off.

Any number of devices will do, whatever the checkpoint was written on; several
processes need a --config with `distributed=True`. Writes `metrics.json`,
`report.html` and, for each evaluation, `<name>/predictions.json` (COCO's result
format), `<name>/predictions.png` (truth beside predictions) and, where boxes
are matched, `<name>/matches.npz` (for glip_jax.tools.compare). One that is
interrupted goes on where it stopped when it is started again.
"""

if __name__ == '__main__':
  from glip_jax import interrupting

  interrupting.end_at_once()  # While what follows is imported.

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import flags

from glip_jax import configuring, evaluating, serving, storage, text_store
from glip_jax.evaluators import evaluation, expected, resuming
from glip_jax.ops import forms
from glip_jax.report import writing
from glip_jax.training import checksums, processes, runtime

evaluating.define_flags()
EXPECT = flags.DEFINE_string(
    'expect',
    '',
    "Percent that must be met, as 'val/AP=46.6+-0.2'; several by commas.",
)
PER_CLASS = flags.DEFINE_bool('per_class', False, 'Print a line per class.')


def main(_: Sequence[str]):
  told = evaluating.read(
      'eval', lambda config: expected.read(EXPECT.value, config.evals)
  )
  expectations = expected.read(EXPECT.value, told.config.evals)
  storage.check_out('out', told.out / 'metrics.json')
  for name in told.config.evals:
    storage.check_folder('out', told.out / name)
  evaluating.start(told)
  with forms.use(**dataclasses.asdict(told.config.forms)):
    results = _evaluate(told)
  if jax.process_index() == 0:
    print(f'checkpoint {told.source}\n')
    print(evaluation.tables(results, per_class=PER_CLASS.value))
    print(f'\nreport.html, metrics and predictions are in {told.out}')
  expected.check(expectations, results)


def _evaluate(told: evaluating.Told) -> Mapping[str, Any]:
  sources, detector = told.sources(), told.detector()
  # All that decides what is found; of text the model alone.
  sums = {k: x.checksum for k, x in checksums.sums(detector.params).items()}
  model = (sums, told.config.model, resuming.program(), jax.__version__)
  if (folder := told.config.text_cache) != 'off':
    folder = folder or runtime.user_cache('texts')
    key = resuming.digest(*model)
    detector.keep_texts(text_store.TextStore(folder, key))
  key = resuming.digest(*model, dataclasses.asdict(told.config))
  report = writing.Report(told.config.evals)
  results = evaluation.evaluate(
      told.config.evals,
      detector,
      data=told.config.data,
      sources=sources,
      out=told.out,
      gather=processes.gather,
      on_first=processes.on_first,
      told=report.add,
      place=resuming.Place(told.out, key),
      **runtime.share(),
  )
  if jax.process_index() == 0:
    out = told.out
    name = out.parent.name if out.name == 'eval' else out.name
    report.write(
        out / writing.FILE,
        title=f'Evaluation of {name}',
        facts=_facts(told, detector),
        results=results,
    )
  return results


def _facts(
    told: evaluating.Told, detector: serving.Detector
) -> list[tuple[str, str]]:
  """What was evaluated and by what, for the report."""
  number = sum(x.size for x in jax.tree.leaves(detector.params))
  devices = jax.devices()
  return [
      ('checkpoint', str(told.source)),
      ('model', f'{told.config.model["family"]}, {number:,} parameters'),
      ('devices', f'{len(devices)} of {devices[0].device_kind}'),
      ('versions', writing.versions()),
  ]


if __name__ == '__main__':
  configuring.run(main)
