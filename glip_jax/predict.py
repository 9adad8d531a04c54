"""Finds what a prompt names in one image, with a trained model.

  python -m glip_jax.predict --workdir=runs/shapes --image=photo.jpg \
      --prompt='red circle. blue star'
  python -m glip_jax.predict --workdir=runs/shapes --image=photo.jpg \
      --prompt='red circle' --prompt=dog --threshold=0.2 --out=found.png

Prints a table of phrases, scores and boxes (pixels of the image) and writes
the image with the boxes drawn on it.
"""

import dataclasses
import functools
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from absl import flags
from etils import epath
from jaxtyping import Float, UInt8

from glip_jax import configuring, draw, errors, run, serving, types
from glip_jax.data import element, images, records, settings
from glip_jax.detectors import recipe as recipes
from glip_jax.evaluators import unpack
from glip_jax.text import prompts
from glip_jax.training import checkpoint_files, runtime, sharding

_FORMATS = {'.png': 'PNG', '.jpg': 'JPEG', '.jpeg': 'JPEG', '.webp': 'WEBP'}
_EXAMPLE = (
    "--workdir=runs/shapes --image=photo.jpg --prompt='red circle. blue star'"
)


@dataclasses.dataclass(frozen=True)
class Found:
  """What was found in an image, best first.

  Attributes:
    boxes: xyxy, pixels of the image as it was given.
    scores: in [0, 1].
    phrases: the phrase of the prompt that each box answers, or
      `prompts.UNKNOWN`.
  """

  boxes: Float[np.ndarray, 'k 4']
  scores: Float[np.ndarray, 'k']
  phrases: tuple[str, ...]

  def table(self) -> str:
    """Aligned lines for a terminal, boxes as x0 y0 x1 y1."""
    if not self.phrases:
      return 'nothing found'
    width = max(len('phrase'), *map(len, self.phrases))
    names = ''.join(f'{name:>9}' for name in ('x0', 'y0', 'x1', 'y1'))
    lines = [f'{"phrase":<{width}}  score{names}']
    for phrase, score, box in zip(
        self.phrases, self.scores, self.boxes, strict=True
    ):
      corners = ''.join(f'{x:>9.1f}' for x in box)
      lines.append(f'{phrase:<{width}}  {score:>5.3f}{corners}')
    return '\n'.join(lines)


@dataclasses.dataclass(frozen=True)
class Predictor:
  """A trained model that takes an image and a prompt.

  Attributes:
    data: `config.data` that the model was trained with: canvas and tokens.
    detector: finds what is named in a batch.
    threshold: detections with a lower score are left out.
  """

  data: settings.Config
  detector: serving.Detector
  threshold: float

  def __call__(
      self, image: UInt8[np.ndarray, 'h w 3'], text: prompts.TextPrompt
  ) -> Found:
    """Finds what the phrases of a prompt name.

    The first call compiles, and so does the first one with any number of
    phrases above `data.num_phrases`.

    Args:
      image: RGB, of any size.
      text: from `prompts.from_caption` or `prompts.from_names`.

    Raises:
      UserError: the prompt has more tokens than the model reads.
    """
    batch = self._batch(image, text)
    lowest = self.detector.recipe.lowest(self.threshold)
    answer = self.detector.detect(batch, same_prompt=True, **lowest)
    found = next(unpack.unpack(batch, answer, unknown=True))
    keep = found.scores >= self.threshold
    return Found(
        boxes=found.boxes[keep],
        scores=found.scores[keep],
        phrases=tuple(text.name(label) for label in found.labels[keep]),
    )

  def in_image(self, path: str | os.PathLike, prompt: str) -> Found:
    """Finds what a prompt names in an image file.

    Args:
      path: of the image.
      prompt: phrases, separated by full stops.

    Raises:
      UserError: the image cannot be read, or the prompt holds no words or too
        many.
    """
    text = prompts.from_caption(prompt)
    return self(images.read_image(path), text)

  def _batch(self, image: np.ndarray, text: prompts.TextPrompt) -> types.Batch:
    """A batch of one, made as evaluation makes its batches."""
    record = records.Record(
        image=image,
        boxes=np.zeros((0, 4), np.float32),
        phrase=np.zeros(0, np.int32),
        crowd=np.zeros(0, bool),
        text=text,
        index=0,
    )
    one = _element(self.data, len(text.phrases)).map(
        settings.resizing(self.data).map(record)
    )
    return jax.tree.map(lambda x: np.asarray(x)[None], one)


def load(
    workdir: str | os.PathLike,
    *,
    step: str | int = 'best',
    threshold: float | None = None,
) -> Predictor:
  """A predictor from the workdir of a training run, on the first device.

  Args:
    workdir: holds `config.json` and checkpoints.
    step: 'best', 'latest' or a number.
    threshold: detections with a lower score are left out, in [0, 1]; None
      for the `show_threshold` of the model's family.

  Raises:
    UserError: there is no config or no such checkpoint, or no score can reach
      the threshold.
  """
  _check_threshold(threshold)
  workdir = epath.Path(workdir).expanduser()
  folder = checkpoint_files.find(workdir, step)
  return make_predictor(
      run.read(configuring.load(workdir)),
      lambda shapes, _: checkpoint_files.restore_params(folder, shapes),
      threshold=threshold,
  )


def make_predictor(
    config: run.Run,
    read_params: Callable[[Any, recipes.Recipe], Any],
    *,
    threshold: float | None = None,
) -> Predictor:
  """A predictor whose parameters come from anywhere, on the first device.

  Args:
    config: `model` and `data` are read.
    read_params: given the shapes and shardings of the parameters and the
      recipe, returns the parameters.
    threshold: detections with a lower score are left out, in [0, 1]; None
      for the `show_threshold` of the model's family.

  Raises:
    UserError: no score can reach the threshold.
  """
  _check_threshold(threshold)
  recipe = recipes.build(config.model)
  detector = serving.load(
      recipe,
      lambda shapes: read_params(shapes, recipe),
      sharding.make_mesh({'data': 1}, jax.devices()[:1]),
      data=config.data,
  )
  if threshold is None:
    threshold = recipe.show_threshold
  return Predictor(config.data, detector, threshold)


def _check_threshold(threshold: float | None):
  if threshold is not None and not 0 <= threshold <= 1:
    raise errors.UserError(
        f'threshold={threshold} is not in [0, 1], where scores are: give one'
        " that is, or none for the model's own"
    )


def write_image(
    predictor: Predictor,
    image: str | os.PathLike,
    prompt: str,
    out: str | os.PathLike,
) -> Found:
  """Looks at an image file and writes it again, what was found drawn on it.

  Args:
    predictor: from `load`.
    image: path of the image.
    prompt: phrases, separated by full stops.
    out: path of the image to write; its folder is made.

  Returns:
    What was found.

  Raises:
    UserError: the image cannot be read, the prompt holds no words or too
      many, or `out` is a folder or ends in no format of images.
  """
  path = epath.Path(out)
  file_format = _file_format(path)
  text = prompts.from_caption(prompt)
  pixels = images.read_image(image)
  found = predictor(pixels, text)
  scores = found.scores.tolist()
  drawn = draw.draw_boxes(pixels, found.boxes, found.phrases, scores=scores)
  path.parent.mkdir(parents=True, exist_ok=True)
  with path.open('wb') as file:
    drawn.save(file, format=file_format)
  return found


def _file_format(path: epath.Path) -> str:
  """What to write an image as; a UserError where it cannot be one."""
  if path.is_dir():
    raise errors.UserError(
        f'out={os.fspath(path)!r} is a folder: give the file to write'
    )
  file_format = _FORMATS.get(path.suffix.lower())
  if file_format is None:
    raise errors.UserError(
        f'out={os.fspath(path)!r} is no image: let it end in one of'
        f' {", ".join(_FORMATS)}'
    )
  return file_format


def _element(data: Mapping[str, Any], num_phrases: int) -> element.ToElement:
  """The evaluation's transform, with room for all phrases of a prompt."""
  own = settings.to_element(data)
  return dataclasses.replace(own, num_phrases=max(own.num_phrases, num_phrases))


def define_flags(values: flags.FlagValues = flags.FLAGS):
  """Defines the flags of the command line.

  Not at import: who imports this module may have flags of these names.

  Args:
    values: where to.
  """
  string = functools.partial(flags.DEFINE_string, flag_values=values)
  string('workdir', None, 'Folder of a training run.')
  string('image', None, 'Image to look at.')
  flags.DEFINE_multi_string(
      'prompt',
      None,
      "What to look for: 'red circle. blue star'; may be repeated.",
      flag_values=values,
  )
  string(
      'out', '', 'Image to write; <workdir>/predictions/<image>.png if empty.'
  )
  flags.DEFINE_float(
      'threshold',
      None,
      "Lowest score to show; by default the model's own.",
      flag_values=values,
  )
  string('step', 'best', 'best, latest, or a number.')


def main(_: Sequence[str]):
  """Runs the command line."""
  options = flags.FLAGS
  for name in ('workdir', 'image', 'prompt'):
    if not options[name].value:
      raise errors.UserError(f'--{name} is missing; for example {_EXAMPLE}')
  workdir, image, out = (
      epath.Path(path).expanduser()
      for path in (options.workdir, options.image, options.out)
  )
  if not options.out:
    out = workdir / 'predictions' / f'{image.stem}.png'
  prompt = '. '.join(options.prompt)
  # What can be wrong is looked at before the model is loaded.
  _file_format(out)
  configuring.check_folder('out', out.parent)
  prompts.from_caption(prompt)
  images.image_size(image)
  runtime.start(distributed='False')
  predictor = load(workdir, step=options.step, threshold=options.threshold)
  print(write_image(predictor, image, prompt, out).table())
  print(f'\n{out}')


if __name__ == '__main__':
  define_flags()
  configuring.run(main)
