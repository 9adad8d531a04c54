"""Average precision by the COCO protocol, for the classes of a source."""

from glip_jax.data.sources.protocol import DetectionSource
from glip_jax.evaluators import coco_ap, collected
from glip_jax.evaluators import matches as matches_lib


class DetectionEvaluator(collected.Collected):
  """Collects detections of a source and scores them against its truth."""

  metric_names = coco_ap.METRICS

  def __init__(self, source: DetectionSource):
    """Binds the evaluator to what it judges.

    Args:
      source: a detection source; detections are labelled with its vocabulary.

    Raises:
      UserError: it is a grounding source.
    """
    collected.check_source(source, type='detection')
    super().__init__(source)

  def result(self) -> coco_ap.CocoResult:
    """Scores what was added; images never added count as missed.

    The scored boxes are the rounded ones of `predictions()`, so that the
    written file gives the same numbers in any other tool.
    """
    return self._run()[0]

  def matches(self) -> matches_lib.Matches:
    """What `predictions()` were matched with."""
    return self._run()[1]()

  def _run(self):
    return self.once(lambda: coco_ap.run_coco(self.truth(), self.predictions()))
