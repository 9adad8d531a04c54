"""Finding in images what prompts name, with parameters from anywhere."""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax

from glip_jax import (
    choosing,
    errors,
    looking,
    prompting,
    regions,
    run,
    serving,
)
from glip_jax.data import fitting, image_inputs, settings
from glip_jax.detectors import recipe as recipes
from glip_jax.found import Found
from glip_jax.training import sharding

# Prompts that are kept as they were read.
_PROMPTS_KEPT = 256


@dataclasses.dataclass(eq=False)
class Predictor:
  """A trained model that takes images and prompts.

  Attributes:
    data: `config.data` of the model; `buckets` are the canvases and lengths of
      prompts that programs are compiled for.
    detector: finds what is named in a batch.
    threshold: detections with a lower score are left out, where a call says
      nothing else.
    batch_size: images that are looked at at a time; fewer are filled up.
  """

  data: settings.Config
  detector: serving.Detector
  threshold: float
  batch_size: int = 1

  def __post_init__(self):
    self._known: dict[Any, prompting.Asked] = {}
    self._classes: prompting.Asked | None = None

  def __call__(
      self,
      images: Any,
      prompt: prompting.Text | Sequence[prompting.Text] | None = None,
      *,
      threshold: float | Mapping[str, float] | None = None,
      top_k: int | None = None,
      suppress: str = '',
      overlap: float | None = None,
  ) -> Found | list[Found]:
    """Finds what the phrases of a prompt name.

    The first call with each shape of `data.buckets` compiles.

    Args:
      images: one image of any size: a path, an address of http or https, the
        bytes of a file, a PIL image, or an array, as `any_image.to_rgb` says;
        or many, as `image_inputs.are_many` says: a list, a folder, a pattern, a
        video. For more than memory holds see `stream`.
      prompt: for all images what `prompting.read` takes: a text, which is split
        into names at full stops, a list of names, of any number, names with
        descriptions, or a prompt of `glip_jax.caption`; or a list of these, one
        for each image. None for the names of `set_classes`.
      threshold: lowest score in [0, 1], or lowest scores by phrase, where
        others keep that of the predictor.
      top_k: the best so many of each image.
      suppress: 'class': of two boxes of a phrase that overlap the worse goes,
        as GLIP does anyway; 'all': so whatever they answer; 'box': a box keeps
        its best phrase.
      overlap: the IoU from which boxes overlap: 0.6, for 'box' 0.9.

    Returns:
      What was found in one image, or a list of that.

    Raises:
      UserError: an image is none, cannot be read or fetched, the prompt holds
        no words, the model cannot read it (see `prompting.read`), or an option
        is none.
    """
    options = dict(
        threshold=threshold, top_k=top_k, suppress=suppress, overlap=overlap
    )
    found = list(self.stream(images, prompt, **options))
    return found if image_inputs.are_many(images) else found[0]

  def stream(
      self,
      images: Any,
      prompt: prompting.Text | Sequence[prompting.Text] | None = None,
      *,
      threshold: float | Mapping[str, float] | None = None,
      top_k: int | None = None,
      suppress: str = '',
      overlap: float | None = None,
  ) -> Iterator[Found]:
    """As a call, giving what was found in each image as soon as it is known.

    Args:
      images: as for a call; iterators are taken from as images are needed.
      prompt: as for a call; a list of one for each image needs as many.
      threshold: as for a call.
      top_k: as for a call.
      suppress: as for a call.
      overlap: as for a call.

    Returns:
      An iterator in the order of the images.

    Raises:
      UserError: as for a call; what is wrong with prompts, options, folders and
        patterns at once, the rest as images are read.
    """
    choice = choosing.Choice(
        threshold, self.threshold, top_k, suppress, overlap
    )
    image_inputs.check(images)
    asked = self._asked(images, prompt)
    for each in asked if isinstance(asked, list) else [asked]:
      choice.check_names(each.text.phrases)
    return self._stream(image_inputs.read_list(images), asked, choice)

  def features(
      self, image: Any, prompt: prompting.Text | None = None
  ) -> regions.Regions:
    """What scores are products of: embeddings of regions and of tokens.

    Args:
      image: one image, as for a call.
      prompt: as for a call, of what one prompt of the model holds; None for the
        names of `set_classes`.

    Returns:
      Embeddings, scores and boxes of all regions, and heat maps of words.

    Raises:
      UserError: as for a call, and where there are several images or prompts.
    """
    asked = self._asked(image, prompt)
    data = settings.read_data(self.data)
    if isinstance(asked, list) or len(asked.chunks) > 1 or data.class_captions:
      raise errors.UserError(
          'features are of one prompt: give fewer names, or the list in parts'
      )
    if image_inputs.are_many(image):
      raise errors.UserError('features are of one image: give one at a time')
    (own,) = image_inputs.read_list(image)
    look = looking.Looker(data, self.detector, self.batch_size)
    return regions.of(*look.embed(looking.Question(own, asked)), data)

  def set_classes(self, prompt: prompting.Text | None) -> None:
    """Says what is looked for where a call names nothing, and encodes it once.

    Args:
      prompt: as for a call, one for all images; None forgets it.

    Raises:
      UserError: as for a call.
    """
    self._classes = None if prompt is None else self._read(prompt)
    if self._classes is None:
      return
    data = settings.read_data(self.data)
    lengths = {bucket.num_tokens for bucket in settings.buckets(data)}
    fitting_ones = [n for n in lengths if n >= self._classes.num_tokens]
    for _, row in self._classes.encoded(data, min(fitting_ones or lengths)):
      self.detector.encode_text(row)

  def _stream(
      self,
      images: Iterator[image_inputs.Input],
      asked: prompting.Asked | list[prompting.Asked],
      choice: choosing.Choice,
  ) -> Iterator[Found]:
    data = settings.read_data(self.data)
    look = looking.Looker(data, self.detector, self.batch_size)
    questions = looking.questions(images, asked)
    recipe = self.detector.recipe
    thresholds = dict(recipe.lowest(choice.lowest))
    if choice.suppress == 'class' and 'nms_threshold' in recipe.thresholds:
      thresholds['nms_threshold'] = choice.most_overlap
    for answer in look(questions, thresholds):
      yield _found(answer, choice)

  def _asked(
      self, images: Any, prompt: Any
  ) -> prompting.Asked | list[prompting.Asked]:
    """What is looked for in all images, or in each."""
    if prompt is None:
      if self._classes is None:
        raise errors.UserError(
            'prompt is missing: say what to look for, such as'
            " ['cat', 'dog'], or once for all calls by set_classes"
        )
      return self._classes
    if not prompting.is_one_each(prompt):
      return self._read(prompt)
    several = [self._read(each) for each in prompt]
    count = image_inputs.count(images)
    if count is not None and count != len(several):
      raise errors.UserError(
          f'{len(several)} prompts are given for {count} images: give one for'
          ' each, or one for all'
      )
    return several

  def _read(self, prompt: prompting.Text) -> prompting.Asked:
    """A prompt as the model reads it, kept for the next call."""
    text = prompting.as_prompt(prompt)
    if text not in self._known:
      while len(self._known) >= _PROMPTS_KEPT:
        del self._known[next(iter(self._known))]
      self._known[text] = prompting.read(self.data, text)
    return self._known[text]


def make_predictor(
    config: run.Run,
    read_params: Callable[[Any, recipes.Recipe], Any],
    *,
    threshold: float | None = None,
    dtype: Any = None,
    devices: int | Sequence[jax.Device] | None = None,
    batch_size: int | None = None,
    buckets: Sequence[tuple[int, int, int]] | None = None,
    unknown: bool | None = None,
) -> Predictor:
  """A predictor whose parameters come from anywhere.

  Args:
    config: `model` and `data` are read.
    read_params: given the shapes and shardings of the parameters and the
      recipe, returns the parameters.
    threshold: detections with a lower score are left out, in [0, 1]; None
      for the `show_threshold` of the model's family.
    dtype: of matrix products: 'float32' or 'bfloat16'; None as the config says.
    devices: over which batches are divided: so many, or these; None for one.
    batch_size: images that are looked at at a time, a multiple of the number of
      devices, which is what None stands for.
    buckets: (h, w, tokens) that programs are compiled for, as
      `config.data.buckets`; None for few: three canvases and two lengths.
    unknown: whether objects that no phrase names are found too, and called
      `prompts.UNKNOWN`; None as the config says.

  Raises:
    UserError: no score can reach the threshold, or an option is none that the
      model has.
  """
  choosing.check_threshold(threshold)
  data = config.data
  if buckets is None:
    buckets = fitting.few_buckets(data)
  data = settings.read_data(
      dataclasses.replace(data, buckets=tuple(map(tuple, buckets)))
  )
  recipe = recipes.build(
      run.adapted(config.model, dtype=dtype, unknown=unknown)
  )
  chosen = sharding.choose_devices(devices)
  mesh = sharding.make_mesh({'data': len(chosen)}, chosen)
  batch_size = len(chosen) if batch_size is None else batch_size
  sharding.check_batch_size(batch_size, mesh)
  detector = serving.load(
      recipe,
      lambda shapes: read_params(shapes, recipe),
      mesh,
      data=data,
  )
  if threshold is None:
    threshold = recipe.show_threshold
  return Predictor(data, detector, threshold, batch_size)


def _found(answer: looking.Answer, choice: choosing.Choice) -> Found:
  """What of an answer is kept."""
  kept = choice.rows(answer.boxes, answer.scores, answer.labels, answer.phrases)
  return Found(
      answer.boxes[kept],
      answer.scores[kept],
      tuple(answer.phrases[i] for i in kept),
      asked=answer.question.asked.text,
      threshold=choice.lowest,
      labels=answer.labels[kept],
      image=answer.question.image,
      size=answer.size,
  )
