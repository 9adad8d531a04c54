"""Writes a detector to a file that jax alone runs (docs/export.md).

  python -m glip_jax.tools.export --weights=glip_t --canvas=800x1344 \
      --prompt='a red car. dog' --out=detector.zip
  python -m glip_jax.tools.export --workdir=runs/mine --prompts=names.json \
      --chunk_names=40 --out=detector.zip
  python -m glip_jax.tools.export --workdir=runs/mine --open --out=open.zip

Names are encoded here: the file needs no tokenizer and has no text encoder.
With --open prompts are inputs, as tokens. --prompt and --prompts are those of
glip_jax.predict.
"""

if __name__ == '__main__':
  from glip_jax import interrupting

  interrupting.end_at_once()  # While what follows is imported.

import functools
import os
import re
from collections.abc import Sequence

from absl import flags

from glip_jax import (
    choosing,
    configuring,
    errors,
    loading,
    predicting,
    prompting,
    storage,
)
from glip_jax.data import settings
from glip_jax.exporting import file, functions, programs
from glip_jax.text import class_prompts, parsing, prompts
from glip_jax.training import runtime

_CANVAS = re.compile(r'([1-9]\d{0,4})x([1-9]\d{0,4})', re.ASCII)


def export(options: flags.FlagValues) -> str:
  """Writes what the flags say; returns what was written.

  Args:
    options: of `define_flags`.

  Raises:
    UserError: a flag says something that cannot be, or the model cannot be
      had, or cannot read the names.
  """
  out, weights_out = (
      path and os.path.expanduser(path)
      for path in (options.out, options.weights_out)
  )
  canvases = [_canvas(text) for text in options.canvas]
  _check(options)
  file.check(out, canvases, options.platforms, weights_out)
  text = None if options.open else _prompt(options)
  predictor = _load(options)
  if text is None:
    function = functions.by_prompts(predictor, num_phrases=options.num_phrases)
  else:
    function = functions.by_names(
        predictor, text, chunk_names=options.chunk_names, most=options.most
    )
  data = settings.read_data(predictor.data)
  about = file.write(
      out,
      predictor,
      function,
      canvases=canvases or [data.image_size],
      platforms=options.platforms,
      weights_out=weights_out,
  )
  shapes = ', '.join(f'{h}x{w}' for h, w in about['canvases'])
  found = f'{len(text.phrases)} names' if text else 'prompts of tokens'
  return f'{found} in images of {shapes}, {len(about["arrays"])} arrays: {out}'


def _load(options: flags.FlagValues) -> predicting.Predictor:
  """The model that the flags name."""
  told = dict(threshold=options.threshold, tokenizer=options.tokenizer)
  if options.workdir:
    return loading.load_workdir(options.workdir, step=options.step, **told)
  return loading.load(options.weights, variant=options.variant, **told)


def _prompt(options: flags.FlagValues) -> prompts.TextPrompt:
  """The names that the flags say."""
  if options.prompts:
    return prompting.as_prompt(class_prompts.read(options.prompts, '--prompts'))
  several = len(options.prompt) > 1
  return parsing.read_prompt(options.prompt if several else options.prompt[0])


def _canvas(text: str) -> tuple[int, int]:
  """'800x1344' as (800, 1344)."""
  found = _CANVAS.fullmatch(text)
  if not found:
    raise errors.UserError(
        f'--canvas={text:.100} is no size: give height and width, for example'
        ' 800x1344'
    )
  return int(found[1]), int(found[2])


def _check(options: flags.FlagValues):
  """Refuses flags that leave something unsaid, or say it twice."""
  if not options.out:
    raise errors.UserError('--out is missing: give a file to write')
  if bool(options.weights) == bool(options.workdir):
    raise errors.UserError('give one of --weights and --workdir to read')
  if options.workdir:
    storage.check_readable('workdir', options.workdir)
  other = 'variant' if options.workdir else 'step'
  if options[other].present:
    raise errors.UserError(
        f'--{other}={options[other].value} says nothing of'
        f' --{"workdir" if options.workdir else "weights"}: leave it out'
    )
  if bool(options.prompt) + bool(options.prompts) + options.open != 1:
    raise errors.UserError(
        'give one of --prompt and --prompts, the names to find, or --open,'
        ' which takes prompts as tokens'
    )
  own = ('chunk_names', 'most') if options.open else ('num_phrases',)
  for name in own:
    if options[name].present:
      raise errors.UserError(
          f'--{name}={options[name].value} has no meaning'
          f' {"with" if options.open else "without"} --open: leave it out'
      )
  choosing.check_threshold(options.threshold)


def define_flags(values: flags.FlagValues = flags.FLAGS) -> None:
  """Defines the flags of the command line.

  Args:
    values: where to.
  """
  string = functools.partial(flags.DEFINE_string, flag_values=values)
  number = functools.partial(
      flags.DEFINE_integer, lower_bound=0, flag_values=values
  )
  string('weights', None, 'Released model or file of weights.')
  string('workdir', None, 'Folder of a training run, instead.')
  string('step', 'best', 'Of the run: best, latest or a number.')
  string('variant', None, 'What --weights are of, where their name says not.')
  string('tokenizer', None, 'Name or path, instead of that of the model.')
  flags.DEFINE_multi_string(
      'prompt',
      None,
      "Names to find: 'red car. dog'. Where it is repeated, each is one name.",
      flag_values=values,
  )
  string('prompts', None, 'Instead: JSON file of names with their prompts.')
  flags.DEFINE_bool(
      'open', False, 'Instead: prompts are inputs.', flag_values=values
  )
  number('chunk_names', 0, 'Names of each prompt; 0: as many as fit.')
  number('most', functions.MOST, 'Detections kept of several prompts.')
  number('num_phrases', 0, "Phrases of an open prompt; 0: the model's own.")
  flags.DEFINE_list(
      'canvas',
      [],
      'Height x width that images are padded to, or several: 800x1344. By'
      " default the model's own.",
      flag_values=values,
  )
  flags.DEFINE_list(
      'platforms',
      list(programs.PLATFORMS),
      'What the file is to run on.',
      flag_values=values,
  )
  flags.DEFINE_float(
      'threshold',
      None,
      "Lowest score to give; by default the model's own.",
      flag_values=values,
  )
  string('out', None, 'File to write, of ending .zip.')
  string('weights_out', None, 'A file of its own for the weights.')


def main(_: Sequence[str]):
  """Runs the command line."""
  runtime.start(distributed='False')
  print(export(flags.FLAGS))


if __name__ == '__main__':
  define_flags()
  configuring.run(main)
