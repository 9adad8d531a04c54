"""Finds what a prompt names in one image, with a trained model.

  python -m glip_jax.predict --workdir=runs/shapes --image=photo.jpg \
      --prompt='red circle. blue star'
  python -m glip_jax.predict --workdir=runs/shapes --image=photo.jpg \
      --prompt='red circle' --prompt='st. bernard' --threshold=0.2 --out=a.png
  python -m glip_jax.predict --workdir=runs/shapes --image=photo.jpg \
      --prompts=prompts.json
  python -m glip_jax.predict --weights=grounding_dino_t --image=photo.jpg \
      --prompt='a red car. dog'

The last one needs no training run: --weights takes the name of a released model
or a file (docs/weights.md). One --prompt is split into names at full stops; of
several each is one name. --prompts names a file of names with words around them
(docs/prompts.md). Names are read as those of a data set are, so
'red_circle' is 'red circle'. Prints a table of phrases, scores and boxes
(pixels of the image) and writes the image with the boxes drawn on it.
"""

if __name__ == '__main__':
  from glip_jax import interrupting

  interrupting.end_at_once()  # While what follows is imported.

import functools
import os
from collections.abc import Sequence
from typing import Any

from absl import flags, logging
from etils import epath

from glip_jax import (
    configuring,
    draw,
    errors,
    image_files,
    loading,
    predicting,
    prompting,
    storage,
)
from glip_jax import found as found_lib
from glip_jax.data import any_image, images
from glip_jax.text import class_prompts, parsing, prompts
from glip_jax.training import checkpoint_files, runtime

_EXAMPLE = (
    "--workdir=runs/shapes --image=photo.jpg --prompt='red circle. blue star'"
)


def write_image(
    predictor: predicting.Predictor,
    image: Any,
    prompt: prompts.TextPrompt | str | Sequence[str],
    out: str | os.PathLike,
) -> found_lib.Found:
  """Looks at an image and writes it again, what was found drawn on it.

  Args:
    predictor: from `glip_jax.load`.
    image: path of the image, or another form that `any_image.to_rgb` reads.
    prompt: as for a call, one for all.
    out: path of the image to write; its folder is made.

  Returns:
    What was found.

  Raises:
    UserError: the image cannot be read, the prompt holds no words or is none
      that the model can read, or `out` is a folder or no image.
  """
  errors.check_no_url('out', out, buckets=True)
  path = epath.Path(out)
  file_format = image_files.check('out', path)
  _check_apart(image, path)
  text = prompting.as_prompt(prompt)
  pixels = any_image.to_rgb(image)
  found = predictor(pixels, text)
  scores = found.scores.tolist()
  drawn = draw.draw_boxes(pixels, found.boxes, found.phrases, scores=scores)
  image_files.write(path, drawn, file_format)
  return found


def _check_apart(image: Any, out: epath.Path) -> None:
  """Refuses to write over the image that is looked at."""
  both = (image, out)
  if not all(isinstance(x, (str, os.PathLike)) for x in both):
    return
  if all(map(os.path.exists, both)) and os.path.samefile(*both):
    raise errors.UserError(
        f'out={os.fspath(out)!r} is the image itself: give another, or the'
        ' photograph would be lost'
    )


def define_flags(values: flags.FlagValues = flags.FLAGS):
  """Defines the flags of the command line.

  Not at import: who imports this module may have flags of these names.

  Args:
    values: where to.
  """
  string = functools.partial(flags.DEFINE_string, flag_values=values)
  string('workdir', None, 'Folder of a training run.')
  string('weights', None, 'Released model or file of weights, instead of it.')
  string('variant', None, 'What --weights are of, where their name says not.')
  string('tokenizer', None, 'Name or path, instead of that of the model.')
  string('image', None, 'Image to look at.')
  flags.DEFINE_multi_string(
      'prompt',
      None,
      "What to look for: 'red circle. blue star'. Where it is repeated, each is"
      ' one name.',
      flag_values=values,
  )
  string('prompts', None, 'Instead: JSON file of names with their prompts.')
  string(
      'out',
      '',
      'Image to write; <workdir>/predictions/<image>.png if empty, of weights'
      ' runs/<weights>/predictions/<image>.png.',
  )
  flags.DEFINE_float(
      'threshold',
      None,
      "Lowest score to show; by default the model's own.",
      flag_values=values,
  )
  string('step', 'best', 'best, latest, or a number.')


def _check(options: flags.FlagValues):
  """Refuses flags that leave something unsaid, or say what has no meaning."""
  for name in ('image', 'out', 'workdir', 'weights'):
    errors.check_no_url(
        f'--{name}', options[name].value, buckets=name in ('out', 'workdir')
    )
  if options.prompt and options.prompts:
    raise errors.UserError(
        f'--prompt and --prompts={options.prompts}: give one of the two'
    )
  for name in ('image', 'prompt'):
    if not options[name].value and not (name == 'prompt' and options.prompts):
      raise errors.UserError(f'--{name} is missing; for example {_EXAMPLE}')
  if not options.workdir and not options.weights:
    raise errors.UserError(
        '--workdir is missing, or released --weights instead; for example'
        f' {_EXAMPLE}'
    )
  if options.workdir:
    storage.check_readable('workdir', options.workdir)
  if options.workdir and options.weights:
    raise errors.UserError('--workdir and --weights: give one of the two')
  others = ('step',) if options.weights else ('variant',)
  for name in others:
    if options[name].present:
      other = '--workdir' if options.weights else '--weights'
      raise errors.UserError(
          f'--{name}={options[name].value} is of {other}: leave it out'
      )


def _load(
    options: flags.FlagValues, text: prompts.TextPrompt
) -> predicting.Predictor:
  """What the flags name, if a run of training can read the prompt."""
  if not options.weights:
    workdir = epath.Path(options.workdir).expanduser()
    checkpoint_files.find(workdir, options.step)
    told = dict(tokenizer=options.tokenizer)
    config = loading.stored_config(workdir, **told)
    prompting.read(config.data, text)
    own = dict(step=options.step, threshold=options.threshold)
    return loading.load_workdir(workdir, **own, **told)
  return loading.load(
      options.weights,
      variant=options.variant,
      threshold=options.threshold,
      tokenizer=options.tokenizer,
  )


def _prompt(options: flags.FlagValues) -> prompts.TextPrompt:
  """What the flags say to look for."""
  if options.prompts:
    return prompting.as_prompt(class_prompts.read(options.prompts, '--prompts'))
  # One is a list of names; of several each is a name.
  several = len(options.prompt) > 1
  return parsing.read_prompt(options.prompt if several else options.prompt[0])


def main(_: Sequence[str]):
  """Runs the command line."""
  options = flags.FLAGS
  _check(options)
  image, out = (
      epath.Path(path).expanduser() for path in (options.image, options.out)
  )
  if not options.out:
    folder = options.workdir or f'runs/{epath.Path(options.weights).stem}'
    folder = epath.Path(folder).expanduser() / 'predictions'
    out = folder / f'{image.stem}.png'
  # What can be wrong is looked at before the model is loaded.
  image_files.check('out', out)
  _check_apart(image, out)
  text = _prompt(options)
  for note in parsing.notes(text):
    logging.warning('%s', note)
  images.image_size(image)
  runtime.start(distributed='False')
  print(write_image(_load(options, text), image, text, out).table())
  print(f'\n{out}')


if __name__ == '__main__':
  define_flags()
  configuring.run(main)
