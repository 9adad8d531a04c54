"""Compares prompts: AP by each, and how far it moves with the order of classes.

  python -m glip_jax.tools.prompt_report --workdir=runs/mine \
      --variants=plain.json,described.json --permutations=3

Every evaluation of classes is run by the prompt of the config, and by each of
the files of --variants (docs/prompts.md), in one pass over its images, which
are encoded once for all. With --permutations each prompt is asked in so many
random orders of its classes too. Prints a table for each evaluation, in
percent, and writes `prompt_report.json` to --out.
"""

if __name__ == '__main__':
  from glip_jax import interrupting

  interrupting.end_at_once()  # While what follows is imported.

import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

import jax
from absl import flags, logging

from glip_jax import configuring, errors, evaluating, run, storage
from glip_jax.data import vocabularies
from glip_jax.data.sources import prompted, protocol
from glip_jax.evaluators import evaluation, prompt_variants, written
from glip_jax.ops import forms
from glip_jax.text import class_prompts, prompts

_FILE = 'prompt_report.json'
_CONFIG = 'as configured'


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines the flags of the command line.

  Args:
    values: where to.
  """
  evaluating.define_flags(values)
  flags.DEFINE_list(
      'variants', [], 'JSON files of prompts by class.', flag_values=values
  )
  flags.DEFINE_integer(
      'permutations',
      0,
      'Random orders of the classes, beside their own.',
      lower_bound=0,
      flag_values=values,
  )
  flags.DEFINE_integer('seed', 0, 'Of these orders.', flag_values=values)


def main(_: Sequence[str]):
  values = flags.FLAGS
  read = {
      path: class_prompts.read(path, '--variants') for path in values.variants
  }
  wordings = _named(read)
  if not wordings and not values.permutations:
    raise errors.UserError(
        '--variants and --permutations are missing: give files of prompts to'
        ' compare, or a number of orders of the classes, such as'
        ' --permutations=3'
    )
  told = evaluating.read('prompt_report', _check, values)
  storage.check_out('out', told.out / _FILE)
  evaluating.start(told)
  if jax.process_count() > 1:
    raise errors.UserError(
        'prompts are compared by one process: start it on one host, with'
        ' --config.distributed=False'
    )
  with forms.use(**dataclasses.asdict(told.config.forms)):
    reports = _reports(told, wordings, values.permutations, values.seed)
  print(f'checkpoint {told.source}\n')
  print(evaluation.tables(reports, per_class=False))
  written.write_metrics(told.out / _FILE, reports)
  print(f'\n{told.out / _FILE}')


def _reports(
    told: evaluating.Told,
    wordings: Mapping[str, class_prompts.Wordings],
    permutations: int,
    seed: int,
) -> dict[str, prompt_variants.Report]:
  """What every prompt reaches in each evaluation."""
  config = told.config
  sources = {
      name: _variants(name, source, wordings, config)
      for name, source in told.sources().items()
      if protocol.is_detection(source)
  }
  if left := sorted(set(config.evals) - set(sources)):
    logging.warning(
        '%s: each image has a text of its own, left out', ', '.join(left)
    )
  if not sources:
    raise errors.UserError(
        'no evaluation is of classes, whose prompts could be compared: give a'
        ' config that has one'
    )
  detector, reports = told.detector(), {}
  for name, own in sources.items():
    count = len(next(iter(own.values())))
    reports[name] = prompt_variants.evaluate(
        name,
        config.evals[name],
        own,
        detector,
        data=config.data,
        permutations=permutations,
        seed=seed,
        progress=functools.partial(evaluation.show_progress, name, total=count),
    )
  return reports


def _variants(
    name: str,
    source: protocol.DetectionSource,
    wordings: Mapping[str, class_prompts.Wordings],
    config: run.Run,
) -> dict[str, protocol.DetectionSource]:
  """A source by the name of each prompt; its truth is read once."""
  source.ground_truth()
  plain = source.with_prompt(prompts.from_names(source.names))
  found = {_CONFIG: source}
  for variant, own in wordings.items():
    with errors.naming(f'{variant} on evals.{name}'):
      found[variant] = prompted.by_class(plain, own)
      vocabularies.check_evaluated(found[variant], config.data)
  return found


def _check(config: run.Run) -> None:
  """Refuses evaluations in several views, whose images are not encoded once."""
  for name, spec in config.evals.items():
    if spec.views.on:
      raise errors.UserError(
          f'evals.{name}.views.on=True looks at each image several times: set'
          ' it to False to compare prompts'
      )


def _named(
    read: Mapping[str, class_prompts.Wordings],
) -> dict[str, class_prompts.Wordings]:
  """Prompts by the stems of their files, or by paths where stems are equal."""
  stems = [pathlib.Path(path).stem for path in read]
  clear = len(set(stems) | {_CONFIG}) > len(stems)
  return dict(zip(stems if clear else read, read.values(), strict=True))


if __name__ == '__main__':
  define_flags()
  configuring.run(main)
