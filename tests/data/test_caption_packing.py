"""Captions of other images beside the own one."""

import collections

import numpy as np
import pytest
from small_world import check_equal, config_of

from glip_jax.data import buckets, caption_packing, settings, stream
from glip_jax.data.training_sources import open_training
from glip_jax.errors import UserError
from glip_jax.text import prompts

OTHERS = ('a red circle', 'the blue star is large.', 'green', 'two squares')


def _packed(caption='the star', spans=((4, 8),), num_tokens=64, **fields):
  element = settings.to_element(
      dict(tokenizer='shapes', num_tokens=num_tokens, num_phrases=4)
  )
  own = prompts.from_caption(caption, [spans])
  rng = np.random.default_rng(0)
  found = [
      caption_packing.packed(
          own,
          lambda index: prompts.from_caption(OTHERS[index], ()),
          len(OTHERS),
          caption_packing.Packed(on=True, **fields),
          element,
          rng,
      )
      for _ in range(300)
  ]
  long = [t for t in found if t != own and element.length(t) > num_tokens]
  assert not long
  return own, found


def _count(text):
  return sum(text.caption.count(other.rstrip('.')) for other in OTHERS)


@pytest.mark.parametrize('caption', ['the star', 'the star.', 'the star. '])
def test_the_phrases_stay_the_only_ones_and_on_their_words(caption):
  own, found = _packed(caption)
  for text in found:
    assert text.phrases == own.phrases == ('star',)
    ((span,),) = text.spans
    assert text.caption[slice(*span)] == 'star'
    assert caption.strip() in text.caption and '..' not in text.caption
  starts = {text.spans[0][0][0] for text in found}
  assert len(starts) > 4  # The own caption stands anywhere among them.


def test_how_many_there_are_follows_the_settings():
  counts = collections.Counter(map(_count, _packed(none=1.0, full=0.0)[1]))
  assert counts == {0: 300}
  counts = collections.Counter(
      map(_count, _packed(most=3, none=0.0, full=1.0)[1])
  )
  assert counts == {3: 300}
  counts = collections.Counter(map(_count, _packed(most=3)[1]))
  assert set(counts) == {0, 1, 2, 3}
  assert counts[0] / 300 == pytest.approx(0.4, abs=0.08)


def test_as_many_as_the_tokens_allow():
  for text in _packed(num_tokens=9, most=20, none=0.0, full=1.0)[1]:
    assert _count(text) <= 2
  own, found = _packed(num_tokens=3)
  assert set(found) == {own}  # Too long itself, which its element tells.


def test_a_stream_packs_as_it_was_planned():
  spec = dict(source='shapes', split='train', image_size=32, num_images=20)
  config = config_of(
      spec | {'prompts': {'caption': 1.0}},
      num_tokens=64,
      num_boxes=12,
      buckets=((32, 32, 24), (32, 32, 64)),
      pack_captions=dict(on=True, most=6, none=0.3, full=0.5),
  )
  sources = open_training(config)
  made = stream.train_stream(sources, config, batch_size=2, seed=1)
  batches = [next(made) for _ in range(8)]
  lengths = {buckets.of_batch(batch).num_tokens for batch in batches}
  assert lengths == {24, 64}
  for batch in batches:
    assert batch.targets.tokens.any(axis=-1)[batch.targets.valid].all()
  again = stream.train_stream(sources, config, batch_size=2, seed=1)
  check_equal([next(again) for _ in range(8)], batches)


def test_shares_of_more_than_all_are_refused():
  with pytest.raises(UserError, match='more than 1 in sum'):
    caption_packing.Packed(full=0.8, none=0.3).check(
        'config.data.pack_captions'
    )
