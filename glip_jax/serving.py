"""A detector on the host: parameters and compiled programs, batches in.

Evaluation and prediction hold one of these and never ask for the family. Each
program is compiled for the shapes that it meets; encoded prompts are kept.
"""

import collections
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from glip_jax import errors, text_store, types
from glip_jax import serving_programs as programs_lib
from glip_jax.detectors import class_tokens
from glip_jax.detectors import recipe as recipe_lib
from glip_jax.training import sharding, state, tables

Prompt = types.Prompt | types.ClassCaptions

_TEXTS_KEPT = 256


class Detector:
  """A recipe with its parameters on a mesh.

  Attributes:
    recipe: what the parameters are of.
    mesh: divides the rows of all batches.
    params: where they live.
  """

  def __init__(
      self,
      recipe: recipe_lib.Recipe,
      mesh: jax.sharding.Mesh,
      params: Any,
      *,
      programs: programs_lib.Programs | None = None,
      thresholds: Mapping[str, float] | None = None,
  ):
    """Binds parameters to a recipe.

    Args:
      recipe: from `detectors.recipe.build`.
      mesh: of the parameters' shardings.
      params: arrays on the mesh.
      programs: those of another detector of the same recipe and mesh.
      thresholds: those of `recipe.thresholds` that are others by default.
    """
    self.recipe, self.mesh, self.params = recipe, mesh, params
    self._programs = programs or programs_lib.Programs(recipe, mesh)
    self._own_thresholds = recipe.thresholds | dict(thresholds or {})
    self._texts: collections.OrderedDict[Any, types.Text] = (
        collections.OrderedDict()
    )
    self._store: text_store.TextStore | None = None

  def keep_texts(self, store: text_store.TextStore) -> None:
    """Has prompts that were encoded found again by later processes.

    Of several processes none may skip what all compute together: they keep
    nothing.

    Args:
      store: of these parameters.
    """
    if jax.process_count() == 1:
      self._store = store

  def with_params(self, params: Any) -> 'Detector':
    """The same compiled programs with other parameters."""
    return Detector(self.recipe, self.mesh, params, programs=self._programs)

  def unsuppressed(self) -> 'Detector':
    """The same, giving also what overlaps something better.

    Families without suppression give that anyway.
    """
    # The overlap above which the worse of two goes.
    has_rule = 'nms_threshold' in self.recipe.thresholds
    return Detector(
        self.recipe,
        self.mesh,
        self.params,
        programs=self._programs,
        thresholds={'nms_threshold': 1.0} if has_rule else {},
    )

  def detect(
      self,
      batch: types.Batch,
      *,
      same_prompt: bool = False,
      **thresholds: float,
  ) -> types.Detections:
    """Finds what prompts name in images; does not wait for the answer.

    Args:
      batch: numpy arrays, the rows of this process; `targets` are not read.
      same_prompt: True where all rows, of all processes, have the prompt of
        the first: it is encoded once, also for later batches.
      **thresholds: those of `recipe.thresholds` that are to be others.

    Returns:
      Detections of the rows of this process, boxes in input pixels.

    Raises:
      UserError: the images are not uint8 RGB.
    """
    _check_images(batch.image)
    thresholds = self._thresholds(thresholds)
    batch = batch.replace(targets=None)
    if not same_prompt:
      rows = sharding.put_batch(batch, self.mesh)
      found = self._programs.detect(self.params, rows, thresholds)
      return sharding.local_rows(found)
    text = self.encode_text(jax.tree.map(lambda x: x[:1], batch.prompt))
    rows = sharding.put_batch(batch, self.mesh)
    found = self._programs.detect_text(self.params, rows, text, thresholds)
    return sharding.local_rows(found)

  def encode_image(self, batch: types.Batch) -> types.Features:
    """Encodes images once, for any number of calls of `ground`.

    Args:
      batch: numpy arrays; `image`, `size` and `extent` are read.

    Raises:
      UserError: the images are not uint8 RGB.
    """
    _check_images(batch.image)
    inputs = (batch.image, batch.size, batch.extent)
    rows = sharding.put_batch(inputs, self.mesh)
    return self._programs.encode_image(self.params, *rows)

  def encode_text(self, prompt: Prompt) -> types.Text:
    """Encodes one prompt, or finds it encoded.

    Args:
      prompt: numpy arrays of one row, or captions of classes.
    """
    own, encode = (prompt.ids, prompt.mask), self._programs.encode_text
    if isinstance(prompt, types.ClassCaptions):
      own, encode = (*own, prompt.valid), self._programs.encode_captions
    key = tuple((x.shape, np.asarray(x).tobytes()) for x in own)
    key += (getattr(prompt, 'pool', ''),)
    if key not in self._texts:
      self._texts[key] = self._encoded(key, encode, prompt)
    self._texts.move_to_end(key)
    while len(self._texts) > _TEXTS_KEPT:
      self._texts.popitem(last=False)
    return self._texts[key]

  def _encoded(self, key: Any, encode: Callable[..., types.Text], prompt: Any):
    """A prompt encoded, or what the store has of it."""
    if self._store is None:
      return encode(self.params, prompt)
    name = repr(key).encode()
    text = self._store.find(name)
    if text is None:
      text = encode(self.params, prompt)
      self._store.keep(name, text)
      return text
    return jax.device_put(text, sharding.replicated(self.mesh))

  def ground(
      self,
      features: types.Features,
      batch: types.Batch,
      prompt: (
          types.Prompt
          | types.ClassCaptions
          | Sequence[types.Prompt | types.ClassCaptions]
      ),
      **thresholds: float,
  ) -> types.Detections:
    """Finds what prompts name in encoded images.

    Args:
      features: from `encode_image`.
      batch: what they were made of; `size` and `scale` are read.
      prompt: as for `encode_text`: one for all rows, or a list of one for each,
        all of the same shapes.
      **thresholds: as for `detect`.

    Returns:
      Detections of the rows of this process.
    """
    texts, prompt = self._encode(prompt)
    # Nothing reads the image again: let it stay where it is.
    rows = sharding.put_batch(
        batch.replace(image=None, prompt=None, targets=None), self.mesh
    )
    found = self._programs.ground(
        self.params,
        features,
        rows,
        texts,
        prompt,
        self._thresholds(thresholds),
    )
    return sharding.local_rows(found)

  def embed(
      self, features: types.Features, prompt: Prompt | Sequence[Prompt]
  ) -> types.Embeddings:
    """What scores are products of, of the regions of encoded images.

    Args:
      features: from `encode_image`.
      prompt: as for `ground`.

    Returns:
      Embeddings of the rows of this process.
    """
    texts, _ = self._encode(prompt)
    found = self._programs.embed(self.params, features, texts)
    return sharding.local_rows(found)

  def _encode(
      self, prompt: Prompt | Sequence[Prompt]
  ) -> tuple[tuple[types.Text, ...], types.Prompt]:
    """One or more prompts encoded, and what decoding reads of them."""
    several = prompt if isinstance(prompt, (list, tuple)) else (prompt,)
    read = map(class_tokens.as_prompt, several)
    joined = jax.tree.map(lambda *x: np.concatenate(x), *read)
    return tuple(self.encode_text(each) for each in several), joined

  @property
  def num_programs(self) -> int:
    """Programs that were compiled for it and all who share them."""
    programs = vars(self._programs).values()
    return sum(program._cache_size() for program in programs)

  def _thresholds(self, changes: Mapping[str, float]) -> dict[str, np.ndarray]:
    own = self._own_thresholds
    if unknown := sorted(set(changes) - set(own)):
      raise TypeError(f'{unknown} are no thresholds: they are {sorted(own)}')
    return {name: np.float32(value) for name, value in (own | changes).items()}


def _check_images(image: Any) -> None:
  """Refuses images that the model would take for others, floats above all."""
  shape, dtype = np.shape(image), getattr(image, 'dtype', type(image).__name__)
  if len(shape) != 4 or shape[-1] != 3 or dtype != np.uint8:
    raise errors.UserError(
        f'batch.image is {dtype} of shape {list(shape)}: give uint8 of shape'
        ' [b h w 3], RGB in 0..255 (any_image.to_rgb makes it of other images)'
    )


def load(
    recipe: recipe_lib.Recipe,
    read_params: Callable[[Any], Any],
    mesh: jax.sharding.Mesh,
    *,
    data: Any,
    table: tables.Table = (),
) -> Detector:
  """A detector whose parameters come from anywhere.

  Args:
    recipe: from `detectors.recipe.build`.
    read_params: given the shapes and shardings of the parameters, returns
      them, on the host or where they belong.
    mesh: divides the batches.
    data: `config.data`: the shapes of a batch.
    table: `config.sharding`: where parameters live.
  """
  params = state.abstract_params(
      state.make_init_params(recipe, state.blank_batch(data), seed=0)
  )
  shardings = sharding.param_shardings(params, mesh, table)
  params = read_params(state.with_shardings(params, shardings))
  return Detector(recipe, mesh, jax.device_put(params, shardings))
