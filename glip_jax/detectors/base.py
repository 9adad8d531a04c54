"""What the recipes of all families do alike."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from glip_jax import types


@dataclasses.dataclass(frozen=True)
class Base:
  """A recipe's share that no family has of its own; see `recipe.Recipe`.

  Attributes:
    config: what it was built from; its `decode` has a `score_threshold`, its
      `language` checks prompts.
    model: what `_inputs` gives -> Outputs. Its `ground` sows
      `region_embeddings` and `word_embeddings`, see `types.Embeddings`.
  """

  config: Any
  model: nn.Module

  def init(self, rng: jax.Array, batch: types.Batch) -> Any:
    """Parameters for batches like this one; only its shapes matter."""
    return self.model.init(rng, *self._inputs(batch))['params']

  def forward(
      self,
      params: Any,
      batch: types.Batch,
      *,
      train: bool = False,
      rngs: Mapping[str, jax.Array] | None = None,
  ) -> types.Outputs:
    """Images of a batch scored against their prompts."""
    return self.model.apply(
        {'params': params}, *self._inputs(batch), train=train, rngs=rngs
    )

  def encode_text(self, params: Any, prompt: types.Prompt) -> types.Text:
    """What the text encoder makes of prompts."""
    return self.model.apply(
        {'params': params},
        jnp.asarray(prompt.ids),
        jnp.asarray(prompt.mask),
        method='encode_text',
    )

  def ground(
      self, params: Any, features: types.Features, text: types.Text
  ) -> types.Outputs:
    """Every region scored against every token."""
    return self.model.apply(
        {'params': params}, *self._grounded(features, text), method='ground'
    )

  def embed(
      self, params: Any, features: types.Features, text: types.Text
  ) -> types.Embeddings:
    """As `ground`, with what its logits are products of."""
    outputs, state = self.model.apply(
        {'params': params},
        *self._grounded(features, text),
        method='ground',
        mutable=['intermediates'],
    )
    leaves = jax.tree_util.tree_flatten_with_path(state)[0]
    sown = {
        key.key: leaf
        for path, leaf in leaves
        for key in path
        if getattr(key, 'key', '') in ('region_embeddings', 'word_embeddings')
    }
    return types.Embeddings(
        outputs, sown['region_embeddings'], sown['word_embeddings']
    )

  @property
  def thresholds(self) -> dict[str, float]:
    """What decoding is told at each call, where nobody says otherwise."""
    return dict(score_threshold=self.config.decode.score_threshold)

  def lowest(self, threshold: float) -> dict[str, float]:
    """Thresholds under which no detection of this score is lost."""
    own = self.config.decode.score_threshold
    return dict(score_threshold=min(own, threshold))

  def check_prompts(self, *, num_tokens: int, vocab_size: int) -> None:
    """Refuses prompts that the text encoder has no embeddings for.

    Args:
      num_tokens: length of the prompts.
      vocab_size: number of token ids of the tokenizer.

    Raises:
      UserError: the encoder has fewer positions or tokens.
    """
    self.config.language.check_prompts(
        num_tokens=num_tokens, vocab_size=vocab_size
    )

  def _inputs(self, batch: types.Batch) -> tuple[Any, ...]:
    """What the model takes of a batch."""
    raise NotImplementedError

  def _grounded(
      self, features: types.Features, text: types.Text
  ) -> tuple[Any, ...]:
    """What `ground` of the model takes."""
    raise NotImplementedError
