"""Average precision by the protocol of Pascal VOC, for a source's classes."""

from glip_jax.data.sources.protocol import DetectionSource
from glip_jax.evaluators import collected, voc_ap
from glip_jax.evaluators import matches as matches_lib


class VocEvaluator(collected.Collected):
  """Collects detections of a source and scores them against its truth."""

  metric_names = voc_ap.METRICS

  def __init__(self, source: DetectionSource):
    """Binds the evaluator to what it judges.

    Args:
      source: a detection source; its crowds are what VOC calls difficult.

    Raises:
      UserError: it is a grounding source.
    """
    collected.check_source(source, type='voc')
    super().__init__(source)

  def result(self) -> voc_ap.VocResult:
    """Scores what was added; images never added count as missed."""
    return self._run().result

  def matches(self) -> matches_lib.Matches:
    """What `predictions()` were matched with."""
    return self._run().matches

  def _run(self) -> voc_ap.VocRun:
    return self.once(lambda: voc_ap.run_voc(self.truth(), self.predictions()))
