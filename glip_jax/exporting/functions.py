"""A detector as one function of arrays.

It takes weights, images, their sizes and scales, and maybe prompts, and gives
boxes, scores, labels and which of them are valid.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from glip_jax import errors, predicting, prompting, types
from glip_jax.data import settings
from glip_jax.detectors import applying
from glip_jax.exporting import names
from glip_jax.training import tables

# What names an array of the function begins with.
_WEIGHTS, _TEXT = 'weights', 'text'
# Detections of an image that are kept of several prompts.
MOST = 300


@dataclasses.dataclass(frozen=True)
class Input:
  """An argument of the function after its arrays.

  Attributes:
    name: of the argument.
    shape: without the axis of images; h and w are those of the canvas.
    dtype: numpy's name of its type.
    meaning: of its values.
  """

  name: str
  shape: tuple[int | str, ...]
  dtype: str
  meaning: str


IMAGES = (
    Input('image', ('h', 'w', 3), 'uint8', 'RGB, top left of the canvas'),
    Input('size', (2,), 'int32', 'height and width in the canvas, pixels'),
    Input(
        'scale',
        (2,),
        'float32',
        'factor (y, x) from the pixels that boxes are given in to the canvas',
    ),
)


@dataclasses.dataclass(frozen=True)
class Function:
  """Detection as a function of arrays.

  Attributes:
    call: (arrays by name, *inputs) -> outputs by name; may be jitted.
    arrays: weights and encoded names by '/'-joined name.
    inputs: what follows the arrays.
    names: what labels stand for; () where prompts are inputs.
    thresholds: that its detections passed, by name.
  """

  call: Callable[..., dict[str, jax.Array]]
  arrays: Mapping[str, Any]
  inputs: tuple[Input, ...]
  names: tuple[str, ...]
  thresholds: Mapping[str, float]

  def shapes(
      self, canvas: tuple[int, int], rows: Any
  ) -> list[jax.ShapeDtypeStruct]:
    """Shapes of the inputs.

    Args:
      canvas: (h, w) of the images.
      rows: number of images, maybe a symbol.
    """
    sides = dict(zip('hw', canvas, strict=True))
    return [
        jax.ShapeDtypeStruct(
            (rows, *(sides.get(side, side) for side in each.shape)), each.dtype
        )
        for each in self.inputs
    ]


def by_names(
    predictor: predicting.Predictor,
    prompt: Any,
    *,
    chunk_names: int = 0,
    most: int = MOST,
) -> Function:
  """Finds names that are known beforehand; needs no tokenizer.

  They are encoded here, so the function reads no weight of the text encoder
  that grounding does not.

  Args:
    predictor: the model.
    prompt: names, as a call of the predictor takes them.
    chunk_names: names of each of several prompts, whose detections are joined
      as `evaluators.chunked` does; 0 for as many as have room.
    most: detections of an image that are kept of several prompts.

  Raises:
    UserError: the prompt holds no words or cannot be read, or is too long.
  """
  whole = prompting.as_prompt(prompt)
  texts = names.encode(predictor, whole, chunk_names)
  own = _Own.of(predictor)

  def call(arrays, image, size, scale):
    params, texts = _split(arrays)
    batch = own.batch(image, size, scale)
    features = own.recipe.encode_image(params, image, size, batch.extent)

    def ask(one):
      text = types.Text(**one['encoded'])
      prompt = types.Prompt(**one['prompt'])
      found = applying.ground(
          own.recipe, params, features, batch, text, prompt, own.thresholds
      )
      labels = jnp.where(found.labels < 0, -1, found.labels + one['first'])
      return found.replace(labels=labels, tokens=None)

    if texts['first'].shape[0] == 1:
      found = ask(jax.tree.map(lambda x: x[0], texts))
    else:
      found = _join(jax.lax.map(ask, texts), most)
    return own.outputs(found, scale)

  arrays = {_WEIGHTS: predictor.detector.params, _TEXT: texts}
  return Function(
      call,
      tables.named_leaves(arrays),
      IMAGES,
      tuple(map(whole.name, range(len(whole.phrases)))),
      own.told(),
  )


def by_prompts(
    predictor: predicting.Predictor, *, num_phrases: int = 0
) -> Function:
  """Finds what a prompt of each image names; needs somebody's tokens.

  Args:
    predictor: the model.
    num_phrases: phrases of a prompt; 0 for those of `config.data`.

  Raises:
    UserError: the model reads each class as a caption of its own.
  """
  data, own = settings.read_data(predictor.data), _Own.of(predictor)
  if data.class_captions:
    raise errors.UserError(
        f'class_captions={data.class_captions!r}: such a model reads no prompt'
        ' of tokens: export it with its names'
    )
  t, c = data.num_tokens, num_phrases or data.num_phrases

  def call(arrays, image, size, scale, ids, mask, spans):
    params, _ = _split(arrays)
    batch = own.batch(image, size, scale, types.Prompt(ids, mask, spans))
    found = applying.detect(own.recipe, params, batch, own.thresholds)
    return own.outputs(found, scale)

  return Function(
      call,
      tables.named_leaves({_WEIGHTS: predictor.detector.params}),
      (
          *IMAGES,
          Input('ids', (t,), 'int32', 'tokens of the prompt'),
          Input('mask', (t,), 'bool', 'False at padding tokens'),
          Input(
              'spans', (c, t), 'bool', 'tokens of each phrase, label by label'
          ),
      ),
      (),
      own.told(),
  )


@dataclasses.dataclass(frozen=True)
class _Own:
  """What a function has of a predictor beside its arrays."""

  recipe: Any
  extent_multiple: int
  threshold: float
  thresholds: Mapping[str, float]

  @classmethod
  def of(cls, predictor: predicting.Predictor) -> '_Own':
    recipe, threshold = predictor.detector.recipe, predictor.threshold
    thresholds = recipe.thresholds | recipe.lowest(threshold)
    return cls(
        recipe,
        settings.read_data(predictor.data).extent_multiple,
        threshold,
        {name: float(value) for name, value in thresholds.items()},
    )

  def told(self) -> dict[str, float]:
    """The thresholds, for a reader."""
    return dict(self.thresholds, threshold=self.threshold)

  def batch(self, image, size, scale, prompt=None) -> types.Batch:
    """As `data.element` makes it, of traced arrays."""
    multiple = self.extent_multiple
    whole = -(-size // multiple) * multiple
    canvas = jnp.array(image.shape[1:3], jnp.int32)
    return types.Batch(
        image=image,
        size=size,
        extent=jnp.minimum(whole, canvas).astype(jnp.int32),
        scale=scale,
        id=jnp.zeros_like(size[:, 0]),
        prompt=prompt,
    )

  def outputs(self, found: types.Detections, scale) -> dict[str, jax.Array]:
    """What is over the threshold, in original pixels."""
    valid = found.valid & (found.scores >= np.float32(self.threshold))
    factors = jnp.tile(scale[:, None, ::-1], 2)
    outputs = dict(
        boxes=jnp.where(valid[..., None], found.boxes / factors, 0.0),
        scores=jnp.where(valid, found.scores, 0.0),
        labels=jnp.where(valid, found.labels, -1).astype(jnp.int32),
        valid=valid,
    )
    if found.tokens is not None:
      outputs['tokens'] = found.tokens & valid[..., None]
    return outputs


def _split(arrays: Mapping[str, Any]) -> tuple[Any, Any]:
  """Parameters and texts, as trees, of arrays by name."""
  tree: dict[str, Any] = {_TEXT: {}}
  for name, array in arrays.items():
    *parts, last = name.split('/')
    place = tree
    for part in parts:
      place = place.setdefault(part, {})
    place[last] = array
  return tree[_WEIGHTS], tree[_TEXT]


def _join(found: types.Detections, most: int) -> types.Detections:
  """The best of 'n b k', as `evaluators.chunked.join` has them."""
  flat = lambda x: jnp.moveaxis(x, 0, 1).reshape(x.shape[1], -1, *x.shape[3:])
  found = jax.tree.map(flat, found)
  rank = jnp.where(found.valid, -found.scores, jnp.inf)
  # Stable: of equal scores the prompt that came first.
  order = jnp.argsort(rank, axis=1, stable=True)[:, :most]
  pick = lambda x: jnp.take_along_axis(
      x, order.reshape(*order.shape, *(1,) * (x.ndim - 2)), axis=1
  )
  return jax.tree.map(pick, found)
