"""Known models by their sizes, and configs that no model can have."""

import abstract_models
import jax
import pytest

from glip_jax import errors
from glip_jax.detectors import recipe as recipes


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(width=60), r'width=60 is not divisible by.*num_groups=32'),
        (dict(width=33, num_groups=33), r'width=33.*encoder.num_heads=8'),
        (dict(stages=(1, 3)), r'stages=\(1, 3\) must follow each other'),
        (dict(stages=()), r'stages=\(\) must follow each other'),
        (dict(encoder=dict(fusion=dict(num_heads=3))), r'num_heads=3'),
    ],
)
def test_sizes_that_cannot_be_are_refused(change, message):
  model = dict(family='grounding_dino') | change
  with pytest.raises(errors.UserError, match=message):
    recipes.build(model)


# The reference has a norm of 768 beside, which it does not use.
@pytest.mark.parametrize(
    'name, count, levels',
    [
        ('grounding_dino_T', 172_250_626 - 2 * 768, 4),
        ('mm_grounding_dino_T', 172_913_693 - 2 * 768, 4),
        ('mm_grounding_dino_L', None, 5),
    ],
)
def test_full_models_have_their_sizes(name, count, levels):
  recipe = recipes.build(recipes.variant(name))
  batch = abstract_models.blank_batch()
  params = jax.eval_shape(recipe.init, jax.random.key(0), batch)
  assert params['level_embedding'].shape == (levels, 256)
  found = sum(x.size for x in jax.tree.leaves(params))
  assert count in (found, None)
