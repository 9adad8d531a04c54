"""The values that flow between data, models, objectives and evaluators.

Axis letters: b batch, h w image, r regions, t tokens, c phrases, m ground-truth
boxes, k detections, d width. Boxes are xyxy, float32, in pixels of the resized
input image, from edge to edge: a width is x2 - x1. A single element of a data
pipeline is the same struct without b.
"""

from typing import Any

from flax import struct

# Arrays are numpy on the host and jax on the device, so they carry no type
# that would reject one of the two; shapes stand in the docstrings.
Array = Any


@struct.dataclass
class Prompt:
  """A tokenised prompt and where its phrases stand in it.

  Attributes:
    ids: int[b t] token ids, [CLS] and [SEP] included.
    mask: bool[b t] False at padding tokens.
    spans: bool[b c t] the tokens that name phrase c; all False for padding.
  """

  ids: Array
  mask: Array
  spans: Array


@struct.dataclass
class ClassCaptions:
  """Classes that are read as captions of their own, each to be one token.

  Attributes:
    ids: int[c l] token ids of the caption of class c, [CLS] and [SEP] included.
    mask: bool[c l] False at padding tokens.
    valid: bool[c] False at padding classes, whose captions are empty.
    pool: what the token is made of, static: the 'first' token of the caption,
      [CLS], or the 'mean' of all, [CLS] and [SEP] included.
  """

  ids: Array
  mask: Array
  valid: Array
  pool: str = struct.field(pytree_node=False, default='first')


@struct.dataclass
class Targets:
  """Ground truth, padded to a fixed number of boxes.

  Attributes:
    boxes: float32[b m 4] xyxy, pixels of the input image.
    phrase: int[b m] index of the phrase that names the box; -1 for an object
      that no phrase names.
    tokens: bool[b m t] every token that names the box.
    valid: bool[b m] False at padding rows.
    crowd: bool[b m] True at crowd regions, which never are positives.
  """

  boxes: Array
  phrase: Array
  tokens: Array
  valid: Array
  crowd: Array


@struct.dataclass
class Batch:
  """What a model is trained and evaluated on.

  Attributes:
    image: uint8[b h w 3] RGB, top-left aligned in the canvas.
    size: int[b 2] (h, w) of the image before padding; detections are
      clipped to it, and pixels beyond it are zero after normalisation.
    extent: int[b 2] (h, w) that the network treats as the image: `size`
      rounded up to a multiple of `config.data.extent_multiple`.
    scale: float32[b 2] (y, x) factor from original to input pixels, after all
      transforms. An image whose parts have scales of their own (a mosaic)
      says (1, 1): its original pixels are those of the input.
    id: int32[b] index of the record in its source; -1 for batch padding, below
      for a broken record (`data.guard.broken_indices`).
    prompt: the prompt of each image.
    targets: ground truth, or None where there is none.
  """

  image: Array
  size: Array
  extent: Array
  scale: Array
  id: Array
  prompt: Prompt
  targets: Targets | None = None


@struct.dataclass
class Features:
  """Encoded images; reusable for every prompt.

  Attributes:
    levels: float[b h w d] maps of a pyramid, finest first; what they hold is
      the family's.
    size: int[b 2] as in `Batch`.
    extent: int[b 2] as in `Batch`.
  """

  levels: tuple[Array, ...]
  size: Array
  extent: Array


@struct.dataclass
class Text:
  """Encoded prompts; reusable for every image with the same prompt.

  Attributes:
    tokens: float[b t d] last hidden layer of the text encoder.
    mask: bool[b t] False at padding tokens.
    blocks: int[b t] tokens of one number see each other; None where all do.
    pooled: float[b d] the whole prompt in one vector, or None.
  """

  tokens: Array
  mask: Array
  blocks: Array | None = None
  pooled: Array | None = None


@struct.dataclass
class Outputs:
  """Regions scored against tokens: the one output type of every detector.

  Attributes:
    logits: float32[b r t] region-word alignment.
    boxes: float32[b r 4] decoded xyxy boxes, raw: where they end is a matter
      of the family, whose loss and decode alone read them.
    quality: float32[b r] logits beside those of tokens, or None: of
      localisation quality (centerness) in GLIP, of 'none of these phrases' in
      the family of queries.
    anchors: float32[b r 4] what boxes are relative to, in the same convention,
      or None.
    valid: bool[b r] False at regions outside an image's extent.
    objectness: float32[b r] logits of being an object, whatever the prompt
      names, or None.
    auxiliary: outputs of earlier layers, which a loss may look at too.
    level_sizes: (h, w) of each pyramid level, static; regions are the levels
      one after the other, rows first.
  """

  logits: Array
  boxes: Array
  quality: Array | None
  anchors: Array | None
  valid: Array
  objectness: Array | None = None
  auxiliary: tuple['Outputs', ...] = ()
  level_sizes: tuple[tuple[int, int], ...] = struct.field(
      pytree_node=False, default=()
  )


@struct.dataclass
class Embeddings:
  """What the logits of outputs are products of.

  A logit is the product of the embeddings of its region and its token, but for
  a scale and biases that the family has.

  Attributes:
    outputs: that they give.
    regions: float[b r d] of the regions of `outputs`.
    words: float[b t d] of the tokens of the prompt, having seen the image
      where the family fuses the two.
  """

  outputs: Outputs
  regions: Array
  words: Array


@struct.dataclass
class Detections:
  """A fixed number of detections for each image, best first.

  Attributes:
    boxes: float32[b k 4] xyxy, pixels of the input image, clipped to it (by
      GLIP to its last pixel, before an original pixel is given back); 0 where
      not valid.
    scores: float32[b k] in [0, 1]; 0 where not valid.
    labels: int[b k] 0-based phrase index; -1 for an object that no phrase
      names, which only models that are told to look for unknown ones give.
    valid: bool[b k] False at padding.
    tokens: bool[b k t] the tokens that name each detection, or None where the
      rule of decoding does not name by tokens.
  """

  boxes: Array
  scores: Array
  labels: Array
  valid: Array
  tokens: Array | None = None
