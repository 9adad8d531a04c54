"""The file of an exported detector: a zip that NumPy opens.

  about.json              what it finds, and how it is called
  programs/800x1344       StableHLO of one canvas, as `jax.export` writes it
  weights/head/bias0.npy  arrays by name, as NumPy writes them
  text/encoded/tokens.npy

Weights may be in a second file of the same form. Nothing is pickled, and
nothing is compressed: numbers hardly are.
"""

import importlib.metadata
import io
import json
import os
import zipfile
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np

from glip_jax import errors, fields, predicting, storage
from glip_jax.data import settings
from glip_jax.exporting import functions, programs

FORMAT = 1
ENDING = '.zip'
ABOUT = 'about.json'
OUTPUTS = {
    'boxes': 'float32[b k 4] x0 y0 x1 y1, divided by `scale`; 0 if not valid',
    'scores': 'float32[b k] best first, in [0, 1]; 0 if not valid',
    'labels': 'int32[b k] place in `names`; -1: of no name, or not valid',
    'valid': 'bool[b k] False at padding',
    'tokens': 'bool[b k t] tokens that name it, of a model that names by them',
}
_PACKAGES = ('glip_jax', 'jax', 'jaxlib', 'flax', 'numpy')


def write(
    out: str | os.PathLike,
    predictor: predicting.Predictor,
    function: functions.Function,
    *,
    canvases: Sequence[tuple[int, int]],
    platforms: Sequence[str] = programs.PLATFORMS,
    weights_out: str | os.PathLike | None = None,
) -> dict[str, Any]:
  """Exports a function and writes it whole.

  Args:
    out: file to write, ending in .zip.
    predictor: what the function was made of.
    function: from `functions`.
    canvases: (h, w) of images, multiples of 32 pixels.
    platforms: of `programs.PLATFORMS`.
    weights_out: a second file, for the weights, which several files of
      programs may then share; None keeps all in one.

  Returns:
    What `about.json` says.

  Raises:
    UserError: a file cannot be written, a canvas or platform cannot be, or the
      package flatbuffers, by which jax writes programs, is not installed.
  """
  check(out, canvases, platforms, weights_out)
  made, arrays = programs.export(function, canvases, platforms)
  about = _about(predictor, function, canvases, platforms, arrays)
  members = {ABOUT: json.dumps(about, indent=1, ensure_ascii=False).encode()}
  for canvas, program in made.items():
    members[f'programs/{_name(canvas)}'] = program.serialize()
  weights = {n: x for n, x in arrays.items() if n.startswith('weights/')}
  own = {n: x for n, x in arrays.items() if n not in weights}
  if weights_out is None:
    own |= weights
  else:
    storage.write_whole(weights_out, _zipped({}, weights))
  storage.write_whole(out, _zipped(members, own))
  return about


def check(
    out: str | os.PathLike,
    canvases: Sequence[tuple[int, int]],
    platforms: Sequence[str] = programs.PLATFORMS,
    weights_out: str | os.PathLike | None = None,
) -> None:
  """Refuses what `write` could not do; arguments as there.

  Raises:
    UserError: as `write`.
  """
  _check_flatbuffers()
  for name, path in (('out', out), ('weights_out', weights_out)):
    if path is None:
      continue
    storage.check_out(f'--{name}', path)
    if not os.fspath(path).endswith(ENDING):
      raise errors.UserError(
          f'--{name}={os.fspath(path)} is no zip: let it end in {ENDING}'
      )
  if weights_out and os.path.abspath(out) == os.path.abspath(weights_out):
    raise errors.UserError(
        f'--out and --weights_out are both {os.fspath(out)}: give two files, or'
        ' leave --weights_out out to have one'
    )
  for canvas in canvases:
    if len(canvas) != 2 or min(canvas) <= 0 or any(s % 32 for s in canvas):
      raise errors.UserError(
          f'--canvas={"x".join(map(str, canvas))}: give height and width, in'
          ' multiples of 32 pixels, for example 800x1344'
      )
  if not platforms or (unknown := set(platforms) - set(programs.PLATFORMS)):
    raise errors.UserError(
        f'--platforms: {sorted(unknown) if platforms else "none"} cannot be:'
        f' give some of {", ".join(programs.PLATFORMS)}'
    )


def _check_flatbuffers() -> None:
  try:
    importlib.metadata.version('flatbuffers')
  except importlib.metadata.PackageNotFoundError:
    raise errors.UserError(
        'jax writes and reads programs by the package flatbuffers, which is not'
        ' installed: pip install flatbuffers (or glip_jax[export])'
    ) from None


def _about(predictor, function, canvases, platforms, arrays) -> dict[str, Any]:
  """What a caller needs to know, as JSON has it."""
  data = settings.read_data(predictor.data)
  model = fields.to_dict(predictor.detector.recipe.config)
  about = dict(
      format=FORMAT,
      names=list(function.names),
      canvases=[list(canvas) for canvas in canvases],
      resize=list(data.resize),
      normalisation=dict(model.get('image', {}), inside=True),
      thresholds=dict(function.thresholds),
      inputs=[_input(each) for each in function.inputs],
      outputs=OUTPUTS,
      platforms=list(platforms),
      versions=_versions(),
      model=model,
      arrays=list(arrays),
  )
  if not function.names:
    own = ('tokenizer', 'num_tokens', 'prompt_end')
    about['prompt'] = {name: getattr(data, name) for name in own}
  return about


def _input(each: functions.Input) -> dict[str, Any]:
  return dict(
      name=each.name,
      shape=['b', *each.shape],
      dtype=each.dtype,
      meaning=each.meaning,
  )


def _versions() -> dict[str, str]:
  """Of the packages that are installed."""
  found = {}
  for name in _PACKAGES:
    try:
      found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
      continue  # Run from its folder.
  return found


def _name(canvas: tuple[int, int]) -> str:
  return f'{canvas[0]}x{canvas[1]}'


def _zipped(members: Mapping[str, bytes], arrays: Mapping[str, Any]) -> bytes:
  """A zip of files and of arrays."""
  content = io.BytesIO()
  with zipfile.ZipFile(content, 'w', zipfile.ZIP_STORED) as file:
    for name, member in members.items():
      file.writestr(_entry(name), member)
    for name, array in arrays.items():
      with file.open(_entry(f'{name}.npy'), 'w', force_zip64=True) as part:
        # As the bytes are written one after the other, so they are read.
        np.lib.format.write_array(
            part, np.asarray(jax.device_get(array)), allow_pickle=False
        )
  return content.getvalue()


def _entry(name: str) -> zipfile.ZipInfo:
  """Of no date, so that the same export is the same file."""
  return zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
