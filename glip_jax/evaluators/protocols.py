"""What the loop of evaluations holds: a detector, evaluators, their results."""

from typing import Any, Protocol

from glip_jax import types


class Detector(Protocol):
  """What evaluations hold: a `serving.Detector`."""

  def detect(
      self, batch: types.Batch, *, same_prompt: bool = False
  ) -> types.Detections:
    """Detections of a host batch, without waiting for them."""

  def unsuppressed(self) -> 'Detector':
    """The same, giving also what overlaps something better."""

  def encode_image(self, batch: types.Batch) -> types.Features:
    """Encodes the images of a batch."""

  def ground(
      self,
      features: types.Features,
      batch: types.Batch,
      prompt: types.Prompt | types.ClassCaptions,
  ) -> types.Detections:
    """Detections of one prompt, of one row, in encoded images."""


class Result(Protocol):
  """What an evaluator reports."""

  @property
  def metrics(self) -> dict[str, float]:
    """Scalars for curves, by short name."""

  def to_json(self) -> dict[str, Any]:
    """Everything it knows, in plain values."""

  def table(self, *, per_class: bool = False) -> str:
    """Text for a terminal."""


class Evaluator(Protocol):
  """What `EVALUATORS` builds from a source.

  Attributes:
    metric_names: what its results may hold under `metrics`, higher being
      better, in [0, 1].
    detections_per_image: kept of several prompts for one image, None for all;
      `chunked.MOST` where an evaluator does not say.

  One that matches boxes also has `matches()`, a `matches.Matches`.
  """

  metric_names: tuple[str, ...]

  def add(self, batch: types.Batch, detections: types.Detections) -> None:
    """Takes the detections of one batch."""

  def state(self) -> Any:
    """What was added, for `merge` in another process."""

  def merge(self, state: Any) -> None:
    """Takes what an evaluator of another process was given."""

  def predictions(self) -> list[dict[str, Any]]:
    """What was added, in original ids and pixels."""

  def result(self) -> Result:
    """Scores what was added."""
