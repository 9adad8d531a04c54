"""Converts weights between files: official, mmdetection's and ours.

  python -m glip_jax.tools.convert --variant=T \
      --weights=glip_tiny_model_o365_goldg_cc_sbu.pth --out=glip_t.safetensors
  python -m glip_jax.tools.convert --workdir=runs/mine --official \
      --out=mine.pth

The names of what is read are recognised. A model that is none of the released
variants goes by the --config that it was trained with. Written are our names
(a .safetensors then holds config and tokenizer too, and loads alone), or with
--official those of the official code, which loads the .pth as it is.
"""

if __name__ == '__main__':
  from glip_jax import interrupting

  interrupting.end_at_once()  # While what follows is imported.

import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import jax
from absl import flags
from ml_collections import config_flags

from glip_jax import configuring, errors, fields, loading, storage
from glip_jax.data import settings
from glip_jax.detectors import recipe as recipes
from glip_jax.text import tokenizer as tokenizers
from glip_jax.training import checkpoint_files, state
from glip_jax.weights import description, formats, params_file, released

# By whether a workdir is read: what is, what is not, and the flags of that.
_ELSEWHERE = {
    False: ('--weights', '--workdir', ('step',)),
    True: ('--workdir', '--weights', ('variant', 'config', 'ema')),
}


def convert(
    model: Any,
    out: str | os.PathLike,
    *,
    weights: str | os.PathLike | None = None,
    workdir: str | os.PathLike | None = None,
    step: str | int = 'latest',
    official: bool = False,
    ema: bool = False,
    data: Mapping[str, Any] | None = None,
) -> int:
  """Reads weights of a model and writes them to a file.

  Args:
    model: `config.model`.
    out: file to write; its ending says in which format.
    weights: file to read, or name of a released model, or else
    workdir: of a run, or folder of one checkpoint; the average of the weights
      is taken if there is one.
    step: of the workdir, as `checkpoint_files.find` has it.
    official: write official names.
    ema: take the average that `weights` holds beside them.
    data: `config.data`, which a `.safetensors` of our names then holds with
      `model` and the tokenizer, if that is on this machine: it loads alone.

  Returns:
    Number of parameters.

  Raises:
    UserError: something cannot be read or written, or does not fit the model.
  """
  _check_out(out, weights)
  if weights is not None:
    # Or says that there is none, at once.
    file = loading.find(weights, remedy='--variant={}').check()
  recipe = recipes.build(model)
  shapes = _shapes(recipe)
  if weights is not None:
    params = file.read(shapes, recipe, ema=ema)
  else:
    params = checkpoint_files.restore_params(workdir, shapes, step)
  texts = None if official or data is None else _texts(model, data)
  params_file.write(out, params, recipe, official=official, texts=texts)
  return sum(x.size for x in jax.tree.leaves(params))


def _texts(model: Any, data: Mapping[str, Any]) -> dict[str, str]:
  """What a file says of its model."""
  name, content = data.get('tokenizer', ''), ''
  if name and tokenizers.is_here(name):
    content = tokenizers.load_tokenizer(name).backend_tokenizer.to_str()
  fields_of = fields.to_dict(recipes.read_config(model))
  return description.describe(fields_of, data, content)


def _shapes(recipe: recipes.Recipe) -> Any:
  """Shapes of the parameters of a model; nothing is computed."""
  data = settings.Data(image_size=(64, 64), num_tokens=8, num_phrases=1)
  blank = state.blank_batch(data)
  return state.abstract_params(state.make_init_params(recipe, blank, seed=0))


def main(_: Sequence[str]):
  """Runs the command line."""
  options = flags.FLAGS
  if not options.out:
    raise errors.UserError('--out is missing: give a file to write')
  out = os.path.expanduser(options.out)
  _check_out(out, options.weights)
  _check_source(options)
  if options.workdir:
    checkpoint_files.find(options.workdir, options.step)
    read = dict(workdir=options.workdir, step=options.step)
    config = configuring.load(os.path.expanduser(options.workdir))
    model, data = config['model'], config['data']
  else:
    model = _model(options)
    data = recipes.family_of(model).data
    if options.config:
      data = options.config.data.to_dict()
    read = dict(weights=options.weights, ema=options.ema)
  count = convert(model, out, official=options.official, data=data, **read)
  print(f'{count:,} parameters are in {out}')


def _model(options: flags.FlagValues) -> Any:
  """`config.model` of the weights."""
  if options.config:
    return options.config.model.to_dict()
  known = released.variant_of(options.weights)
  return recipes.variant(options.variant or known or 'T')


def _check_out(out: str | os.PathLike, weights: str | os.PathLike | None):
  """Refuses a file that cannot be written, or is the one that is read."""
  out = os.fspath(out)
  storage.check_out('--out', out)
  if not formats.is_file(out):
    raise errors.UserError(
        f'--out={out} is no file of weights: let it end in one of'
        f' {", ".join(formats.ENDINGS)}'
    )
  weights = os.path.expanduser(weights or '')
  if all(map(os.path.exists, (out, weights))) and os.path.samefile(
      out, weights
  ):
    raise errors.UserError(
        f'--out={out} is the file that is read: give another, or what else it'
        ' holds would be lost'
    )


def _check_source(options: flags.FlagValues):
  """Refuses flags that do not say what to read, or say it twice."""
  if bool(options.weights) == bool(options.workdir):
    raise errors.UserError('give one of --weights and --workdir to read')
  source, other, names = _ELSEWHERE[bool(options.workdir)]
  for name in names:
    if options[name].present:
      raise errors.UserError(
          f'--{name} is of {other}, and says nothing of {source}: leave it out'
      )
  if options.config and options['variant'].present:
    raise errors.UserError(
        f'--config and --variant={options.variant} both describe a model: leave'
        ' one out'
    )


def _define_flags(values: flags.FlagValues = flags.FLAGS):
  string = functools.partial(flags.DEFINE_string, flag_values=values)
  switch = functools.partial(flags.DEFINE_bool, flag_values=values)
  string('weights', None, 'Released model or file to read.')
  string('workdir', None, 'Training run to read, instead.')
  string('step', 'best', 'Of the run: best, latest or a number.')
  string(
      'variant',
      None,
      'What --weights are of: A, B, C, T, L, mm_grounding_dino_T and so on; by'
      ' default what their name says, else T.',
  )
  config_flags.DEFINE_config_file(
      'config',
      None,
      'What --weights are of, where it is no variant: a config file.',
      flag_values=values,
  )
  switch('ema', False, 'Take the average that --weights hold.')
  switch('official', False, 'Write official names.')
  string('out', None, 'File to write: .safetensors or .pth.')


if __name__ == '__main__':
  _define_flags()
  configuring.run(main)
