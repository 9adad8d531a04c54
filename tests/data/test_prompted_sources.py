"""Sources that ask for classes in words of their own: evaluated and trained."""

import json
import pickle

import pytest
from small_world import config_of, spec_of

from glip_jax.data import (
    packing,
    pipeline,
    settings,
    stream,
    training_sources,
    vocabularies,
)
from glip_jax.data.sources import table
from glip_jax.errors import UserError

CAPTION = 'a red circle on the left. blue square'


@pytest.fixture
def write(tmp_path):
  """Writes a file of prompts; gives its path."""

  def write(**content):
    (tmp_path / 'own.json').write_text(json.dumps(content))
    return str(tmp_path / 'own.json')

  return write


@pytest.fixture
def own(write):
  words = {'prefix': 'a', 'suffix': 'on the left'}
  return write(**{'Red Circle': words})


def _texts(data, opened, tokenizer='shapes'):
  """Captions that a batch of an evaluation has, as tokens spell them."""
  loaded = vocabularies.load_tokenizer(tokenizer)
  for batch in pipeline.eval_batches(opened, data, batch_size=4):
    for ids, mask in zip(batch.prompt.ids, batch.prompt.mask, strict=True):
      yield loaded.decode(ids[mask], skip_special_tokens=True)


def test_an_evaluation_asks_in_the_words_of_the_file(world, own):
  spec = spec_of(world, class_prompts=own)
  source = table.open_source(spec)
  assert source.names == ('red circle', 'blue square')
  assert source.text(0).caption == source[3].text.caption == CAPTION
  assert set(_texts(config_of(spec), source)) == {CAPTION}
  assert pickle.loads(pickle.dumps(source)).text(0) == source.text(0)


def test_a_prompt_stays_whole_where_several_hold_the_classes(world, own):
  spec = spec_of(world, class_prompts=own)
  source = table.open_source(spec)
  data = settings.read_data(config_of(spec, chunk_names=9, num_tokens=9))
  found = vocabularies.split(source, data)
  assert [chunk.first for chunk in found] == [0, 1]
  assert '. '.join(chunk.text.caption for chunk in found) == CAPTION
  element = settings.to_element(data)
  assert element.encode(found[0].text).spans.sum(axis=1).tolist()[0] == 2
  with pytest.raises(UserError, match="'red circle' alone has more tokens"):
    vocabularies.split(
        source, settings.read_data(data.__dict__ | {'num_tokens': 7})
    )


@pytest.mark.parametrize('kind', ['shapes', 'records'])
def test_other_sources_ask_so_too(world, write, tmp_path, kind):
  if kind == 'shapes':
    spec = {'source': 'shapes', 'split': 'val', 'num_images': 2}
    plain = table.open_source(spec)
  else:
    plain = table.open_source(spec_of(world))
    packing.pack(plain, tmp_path / 'packed')
    spec = {'directory': str(tmp_path / 'packed')}
  spec |= {
      'class_prompts': write(**{plain.names[1]: {'suffix': 'on the left'}})
  }
  source = table.open_source(spec)
  pieces = list(plain.names)
  pieces[1] += ' on the left'
  for each in (source, pickle.loads(pickle.dumps(source))):
    assert each.text(0).caption == '. '.join(pieces)
    assert each.truth(1).text == each.text(1) and each[0].is_list
  assert source.ground_truth() == plain.ground_truth()
  assert plain.text(0).caption == '. '.join(plain.names)
  with pytest.raises(UserError, match="not kept.*class_prompts=''"):
    packing.pack(source, tmp_path / 'again')


@pytest.mark.parametrize('drawn', [False, True])
def test_training_keeps_words_with_their_name_in_any_order(world, own, drawn):
  spec = spec_of(world, class_prompts=own)
  data = config_of(
      spec, augment={'flip': 0.0}, draw_names={'on': drawn, 'full': 1.0}
  )
  opened = training_sources.open_training(data)
  batches = iter(stream.train_stream(opened, data, batch_size=4, seed=0))
  loaded, seen = vocabularies.load_tokenizer('shapes'), set()
  for _ in range(4):
    batch = next(batches)
    for row in range(4):
      ids, mask = batch.prompt.ids[row], batch.prompt.mask[row]
      seen.add(loaded.decode(ids[mask], skip_special_tokens=True))
      named = [loaded.decode(ids[own]) for own in batch.targets.tokens[row]]
      assert set(named) <= {'red circle', 'blue square', ''}
  first, second = CAPTION.split('. ')
  assert seen == {f'{first}. {second}', f'{second}. {first}'}


def test_what_cannot_be_asked_so_is_refused(world, write):
  def opened(source='coco', **content):
    spec = spec_of(world, source=source, class_prompts=write(**content))
    return table.open_source(spec)

  with pytest.raises(
      UserError, match="'red circl' is not a class.*'red circle'"
  ):
    opened(**{'red circl': 'x'})
  with pytest.raises(UserError, match="class 'red circle' twice"):
    opened(**{'red circle': 'x', 'Red circle': 'y'})
  with pytest.raises(UserError, match='of a source with classes'):
    opened('mdetr', **{'red circle': 'x'})
  with pytest.raises(
      UserError, match='evals.val.data: class_prompts=.*not a fi'
  ):
    table.check_places({
        'evals.val.data': table.Spec(**spec_of(world), class_prompts='no.json')
    })
  spec = spec_of(world, class_prompts=write(**{'blue square': 'red_circle'}))
  with pytest.raises(UserError, match='same tokens'):
    training_sources.open_training(config_of(spec))
  same = config_of(spec, draw_names={'on': True, 'synonyms': True})
  with pytest.raises(UserError, match='synonyms=True.*class_prompts'):
    training_sources.open_training(same)
