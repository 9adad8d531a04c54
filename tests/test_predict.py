"""Predicting for one picture: pixels, phrases, files, and refusals."""

import dataclasses
import os
import pathlib
import subprocess
import sys

import grain
import jax
import numpy as np
import pytest
import tiny_config
from absl import flags
from PIL import Image

from glip_jax import (
    configuring,
    fields,
    loading,
    predict,
    predicting,
    run,
    types,
)
from glip_jax.data import images, pipeline, records, settings
from glip_jax.detectors import recipe as recipes
from glip_jax.errors import UserError
from glip_jax.evaluators import chunked, unpack
from glip_jax.text import parsing, prompts
from glip_jax.training import checkpointing, state

ROOT = pathlib.Path(__file__).parents[1]
NAMES = ('red circle', 'blue square')
HEIGHT, WIDTH = 96, 160  # Of the picture; the canvas is 64 x 64.


def _config():
  config = tiny_config.get_config()
  config.model.decode.score_threshold = 0.99
  config.data.update(num_tokens=16, num_phrases=3)
  return config


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  """A run with random weights, in which every word scores about 0.9."""
  folder = tmp_path_factory.mktemp('run')
  config = _config()
  blank = state.blank_batch(config.data)
  recipe = recipes.build(config.model)
  shapes = state.abstract_params(state.make_init_params(recipe, blank, seed=0))
  rng = np.random.default_rng(0)
  params = jax.tree.map(
      lambda x: 0.1 * rng.standard_normal(x.shape, np.float32), shapes
  )
  params['head']['bias0'][:] = 2.0
  now = state.TrainState(np.zeros((), np.int32), params, {})
  checkpointer = checkpointing.Checkpointer(folder)
  iterator = iter(grain.MapDataset.range(1).to_iter_dataset())
  checkpointer.save(1, now, iterator, meta={})
  checkpointer.close()
  configuring.save(fields.to_dict(run.read(config)), folder)
  return folder


@pytest.fixture(scope='module')
def photo(tmp_path_factory):
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
  path = tmp_path_factory.mktemp('photos') / 'photo.png'
  Image.fromarray(pixels).save(path)
  return path


@pytest.fixture(scope='module')
def predictor(workdir):
  return loading.load_workdir(workdir)


class _Always:
  """A detector that always gives the same answer."""

  def __init__(self, detections):
    self.recipe = recipes.build(recipes.variant('shapes'))
    self._detections = detections

  def encode_image(self, batch):
    return None

  def ground(self, features, batch, prompt, **_):
    return self._detections


def _answering(detections, num_phrases=3):
  """A predictor whose model always gives the same detections."""
  data = _config().data
  data.num_phrases = num_phrases
  return predicting.Predictor(data, _Always(detections), threshold=0.3)


def _detections(boxes, scores, labels):
  return types.Detections(
      boxes=np.array([boxes], np.float32),
      scores=np.array([scores], np.float32),
      labels=np.array([labels], np.int32),
      valid=np.ones((1, len(scores)), bool),
  )


class _OnePicture:
  """A source of one picture, for the evaluation's pipeline."""

  names = NAMES

  def __init__(self, image):
    self._image = image

  def __len__(self):
    return 1

  def __getitem__(self, index):
    return records.Record(
        image=self._image,
        boxes=np.zeros((0, 4), np.float32),
        phrase=np.zeros(0, np.int32),
        crowd=np.zeros(0, bool),
        text=prompts.from_names(NAMES),
        index=index,
    )


def test_a_picture_gets_the_detections_that_evaluation_gives_it(
    predictor, photo
):
  image = images.read_image(photo)
  found = predictor(image, prompts.from_names(NAMES))
  batches = pipeline.eval_batches(
      _OnePicture(image), predictor.data, batch_size=1
  )
  batch = next(iter(batches))
  # As evaluation asks for a vocabulary that takes several prompts.
  element = dataclasses.replace(
      settings.to_element(predictor.data), num_phrases=8
  )
  prompt = chunked.row(element.encode(prompts.from_names(NAMES)))
  detector = predictor.detector
  answer = detector.ground(
      detector.encode_image(batch),
      batch,
      prompt,
      **detector.recipe.lowest(predictor.threshold),
  )
  want = next(unpack.unpack(batch, answer))
  keep = want.scores >= predictor.threshold
  assert keep.any()
  np.testing.assert_array_equal(found.boxes, want.boxes[keep])
  np.testing.assert_array_equal(found.scores, want.scores[keep])
  assert found.phrases == tuple(NAMES[i] for i in want.labels[keep])
  assert found.boxes[:, 2].max() > 64


def test_logits_are_products_of_embeddings_and_words_have_heat_maps(
    predictor, photo
):
  found = predictor.features(photo, list(NAMES))
  logits = np.log(found.scores / (1 - found.scores))
  head = predictor.detector.params['head']
  products = found.region_embeddings @ found.word_embeddings.T
  bias = logits - products / np.exp(head['log_scale'])
  # That of a token is the same in all regions.
  np.testing.assert_allclose(bias, bias[:1].repeat(len(bias), 0), atol=1e-5)
  assert np.ptp(products, axis=0).max() > 0.01
  heat = found.heat_map('square')
  assert heat.shape == (HEIGHT, WIDTH)
  own = np.where(found.valid, found.scores[:, found.spans[1]][:, 1], 0)
  large = [i for i, (h, w) in enumerate(found.grid) if h * w >= 4]
  ends = np.cumsum([h * w for h, w in found.grid])
  assert heat.max() <= own[: ends[large[-1]]].max() + 1e-6
  # The middle of the best cell of the finest map.
  h, w = found.grid[0]
  y, x = np.divmod(own[: h * w].argmax(), w)
  tall, wide = found.cells[0]
  spot = heat[int((y + 0.5) * tall), int((x + 0.5) * wide)]
  assert spot >= own[: h * w].max() - 0.01


def test_the_picture_is_written_with_boxes_drawn_on_it(
    predictor, photo, tmp_path
):
  out = tmp_path / 'new' / 'found.jpg'
  found = predict.write_image(predictor, photo, 'red circle. dog', out)
  assert set(found.phrases) <= {'red circle', 'dog'}
  assert np.all(np.diff(found.scores) <= 0)
  with Image.open(out) as drawn:
    assert drawn.format == 'JPEG'
    assert drawn.width / drawn.height == pytest.approx(WIDTH / HEIGHT, rel=0.01)


def test_boxes_are_pixels_of_the_picture_as_it_was_given():
  # 160 x 96 goes into 64 x 64 by a factor of 0.4 (38.4 rows become 38).
  predictor = _answering(_detections([[8, 19, 16, 38]], [0.9], [1]))
  image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
  found = predictor(image, prompts.from_names(NAMES))
  np.testing.assert_allclose(found.boxes, [[20, 48, 40, 96]], rtol=1e-5)
  assert found.phrases == ('blue square',)


def test_scores_below_the_threshold_are_left_out():
  boxes = [[0, 0, 9, 9], [1, 1, 8, 8], [2, 2, 7, 7]]
  predictor = _answering(_detections(boxes, [0.9, 0.31, 0.29], [0, 0, 0]))
  image = np.zeros((64, 64, 3), np.uint8)
  found = predictor(image, prompts.from_names(NAMES))
  np.testing.assert_allclose(found.scores, [0.9, 0.31])
  assert len(found.boxes) == len(found.phrases) == 2


def test_an_object_that_no_phrase_names_is_called_unknown():
  boxes = [[0, 0, 9, 9], [1, 1, 8, 8]]
  answer = _detections(boxes, [0.9, 0.8], [-1, 1])
  found = _answering(answer)(
      np.zeros((64, 64, 3), np.uint8), prompts.from_names(NAMES)
  )
  assert found.phrases == (prompts.UNKNOWN, 'blue square')


def test_an_object_may_be_called_by_its_tokens():
  answer = _detections([[0, 0, 9, 9], [1, 1, 8, 8]], [0.9, 0.8], [0, 0])
  tokens = np.zeros((1, 2, 16), bool)
  tokens[0, 0, [2, 4]] = tokens[0, 1, 1] = True
  text = prompts.from_names(('red circle', 'blue square'))
  predictor = _answering(answer.replace(tokens=tokens))
  found = predictor(np.zeros((64, 64, 3), np.uint8), text)
  words = ('[CLS]', 'red', 'circle', '.', 'blue')
  assert found.phrases == (f'{words[2]} {words[4]}', words[1])


@pytest.mark.parametrize(
    'names',
    [('bow_(weapon)', 'bow_(ribbon)'), ('dog', '\u56fe'), ('King', 'king')],
)
def test_a_predictor_refuses_names_that_it_cannot_read(names):
  image = np.zeros((64, 64, 3), np.uint8)
  with pytest.raises(UserError, match='are the same tokens|knows no word'):
    _answering(None)(image, prompts.from_names(names))


def test_a_prompt_may_have_more_phrases_than_training_had():
  answer = _detections([[0, 0, 9, 9]], [0.9], [3])
  image = np.zeros((64, 64, 3), np.uint8)
  found = _answering(answer)(image, parsing.read_prompt('a. b. c. d'))
  assert found.phrases == ('d',)


def test_a_caption_that_is_too_long_is_refused_by_name():
  predictor = _answering(None)
  image = np.zeros((64, 64, 3), np.uint8)
  caption = 'left of ' * 8 + 'red circle'
  text = prompts.from_caption(caption, [[(64, 74)]])
  with pytest.raises(prompts.PromptTooLong, match="'red circle' does not fit"):
    predictor(image, text)


@pytest.mark.parametrize(
    'image, prompt, out, message',
    [
        ('nowhere.png', 'dog', 'a.png', 'nowhere.png'),
        (None, ' . ', 'a.png', 'holds no words'),
        (None, 'dog', 'a.txt', "a.txt' is no image: let it end in one of"),
        (None, 'dog', '', 'is a folder: give the file to write'),
        (None, 'dog', 'a' * 256 + '.png', 'File name too long; give another'),
    ],
)
def test_what_cannot_be_done_is_refused_before_anything_is_written(
    photo, tmp_path, image, prompt, out, message
):
  with pytest.raises(UserError, match=message):
    predict.write_image(
        _answering(None), image or photo, prompt, tmp_path / out
    )
  assert not list(tmp_path.iterdir())


def test_an_image_that_cannot_be_written_is_refused_before_it_is_looked_at(
    photo, tmp_path
):
  (tmp_path / 'file').touch()
  looks = lambda pixels, text: pytest.fail('it was looked at')
  with pytest.raises(UserError, match='/file is no folder; give another'):
    predict.write_image(looks, photo, 'dog', tmp_path / 'file' / 'a.png')


def test_the_photograph_is_not_written_over(photo, tmp_path):
  link = tmp_path / 'link.png'
  link.symlink_to(photo)
  before = photo.read_bytes()
  for image, out in ((photo, photo), (str(photo), link), (link, photo)):
    with pytest.raises(UserError, match='is the image itself: give another'):
      predict.write_image(_answering(None), image, 'dog', out)
  assert photo.read_bytes() == before


def test_a_folder_without_a_checkpoint_is_refused(tmp_path):
  with pytest.raises(UserError, match='no checkpoint in .*--workdir'):
    loading.load_workdir(tmp_path)


def test_a_threshold_that_no_score_can_have_is_refused(workdir):
  with pytest.raises(UserError, match=r'threshold=30.* is not in \[0, 1\]'):
    loading.load_workdir(workdir, threshold=30.0)


def test_a_threshold_below_that_of_the_config_counts(predictor, photo):
  found = predictor(images.read_image(photo), prompts.from_names(NAMES))
  assert found.scores.min() < _config().model.decode.score_threshold


def test_every_form_of_an_image_and_a_prompt_finds_the_same(photo):
  pixels = images.read_image(photo)
  seen = []
  answer = _detections([[8, 19, 16, 38]], [0.9], [1])

  class Seeing(_Always):

    def ground(self, features, batch, prompt, **_):
      seen.append((batch.image, prompt[0].ids))
      return super().ground(features, batch, prompt)

  predictor = predicting.Predictor(_config().data, Seeing(answer), 0.3)
  forms = [pixels, pixels / 255, pixels.tolist(), Image.fromarray(pixels)]
  for image in [*forms, photo, str(photo), photo.read_bytes()]:
    for text in ('. '.join(NAMES), list(NAMES), NAMES):
      assert predictor(image, text).phrases == ('blue square',)
  for image, ids in seen[1:]:
    np.testing.assert_array_equal(image, seen[0][0])
    np.testing.assert_array_equal(ids, seen[0][1])


def test_what_is_no_image_or_no_prompt_is_refused_at_the_door():
  predictor = _answering(None)
  image = np.zeros((64, 64, 3), np.uint8)
  with pytest.raises(UserError, match='floats must be in 0..1: undo'):
    predictor(image - np.float32(1.5), 'dog')
  with pytest.raises(UserError, match='a prompt of type .* is none: give'):
    predictor(image, 3)
  with pytest.raises(UserError, match='prompt is missing: say what to look'):
    predictor(image)
  with pytest.raises(UserError, match="'dog' has 1 for a prompt: give a text"):
    predictor(image, {'dog': 1})
  with pytest.raises(UserError, match=r"prompt '\[\]' holds no words"):
    predictor(image, [])


@pytest.mark.parametrize(
    'arguments, name',
    [
        (['--workdir=a', '--image=https://x.y/a.png'], 'image'),
        (['--workdir=https://x.y/run', '--image=a.png'], 'workdir'),
        (['--weights=https://x.y/a.pth', '--image=a.png'], 'weights'),
        (['--workdir=a', '--image=a.png', '--out=https://x.y/a.png'], 'out'),
    ],
)
def test_a_url_is_refused_whatever_flag_it_is_given(
    monkeypatch, arguments, name
):
  with pytest.raises(UserError, match=f"--{name}='https://.* download it fir"):
    _main(monkeypatch, '--prompt=dog', *arguments)


def test_a_url_is_refused_by_the_functions_too(tmp_path):
  with pytest.raises(UserError, match="workdir='https://x.y/run' is a URL"):
    loading.load_workdir('https://x.y/run')
  predictor = _answering(None)
  with pytest.raises(UserError, match="image='https://x.y/a.png' is a URL"):
    predict.write_image(
        predictor, 'https://x.y/a.png', 'dog', tmp_path / 'a.png'
    )


def test_nothing_found_is_said():
  found = predicting.Found(np.zeros((0, 4)), np.zeros(0), ())
  assert found.table() == 'nothing found'


def test_suppression_of_a_phrase_is_that_of_the_model_where_it_has_one():
  told = []

  class Told(_Always):

    def ground(self, features, batch, prompt, **thresholds):
      told.append(thresholds)
      return self._detections

  boxes = [[0, 0, 20, 20], [0, 0, 20, 16]]
  answer = _detections(boxes, [0.9, 0.8], [0, 0])
  detector = Told(answer)
  detector.recipe = recipes.build(_config().model)  # Its own is above both.
  predictor = predicting.Predictor(_config().data, detector, 0.3)
  image = np.zeros((64, 64, 3), np.uint8)
  assert len(predictor(image, 'dog')) == 2
  assert len(predictor(image, 'dog', suppress='class', overlap=0.7)) == 1
  assert len(predictor(image, 'dog', suppress='class', overlap=0.9)) == 2
  assert len(predictor(image, 'dog', suppress='all', threshold=0.95)) == 0
  assert [x.get('nms_threshold') for x in told] == [None, 0.7, 0.9, None]
  # A score is the root of a product that a phrase score is in.
  np.testing.assert_allclose(
      [x['score_threshold'] for x in told], [0.3**2] * 3 + [0.95**2]
  )


def test_where_nothing_is_found_the_table_says_what_was_looked_for():
  boxes = [[0, 0, 9, 9]]
  found = _answering(_detections(boxes, [0.2], [0]))(
      np.zeros((64, 64, 3), np.uint8),
      parsing.read_prompt('dog; the king of hearts, the ace'),
  )
  said, note = found.table().split('\n')
  assert said == (
      "nothing found: nothing scores 0.3 or more as 'dog' and 'the king of"
      " hearts, the ace'"
  )
  assert 'commas separate nothing' in note
  assert note.endswith("write 'the king of hearts. the ace'")


def test_the_table_has_a_line_for_each_detection():
  found = predicting.Found(
      boxes=np.array([[1.0, 2.25, 30.0, 400.0]]),
      scores=np.array([0.5]),
      phrases=('red circle',),
  )
  heading, line = found.table().split('\n')
  assert heading.split() == ['phrase', 'score', 'x0', 'y0', 'x1', 'y1']
  assert line.split() == [
      'red',
      'circle',
      '0.500',
      '1.0',
      '2.2',
      '30.0',
      '400.0',
  ]


def test_prompts_given_apart_are_a_name_each_and_the_picture_has_a_place(
    workdir, photo, predictor, monkeypatch, capsys
):
  values = flags.FlagValues()
  predict.define_flags(values)
  values([
      'predict',
      f'--workdir={workdir}',
      f'--image={photo}',
      '--prompt=red_circle. dog',
      '--prompt=st. bernard',
  ])
  asked = []
  monkeypatch.setattr(flags, 'FLAGS', values)
  monkeypatch.setattr(
      loading,
      'load_workdir',
      lambda *args, **options: _Listening(predictor, asked),
  )
  predict.main([])
  assert [text.phrases for text in asked] == [
      ('red circle. dog', 'st. bernard')
  ]
  out = workdir / 'predictions' / 'photo.png'
  printed = capsys.readouterr().out
  assert printed.startswith('phrase')
  assert printed.endswith(f'\n{out}\n')
  assert out.exists()


_UNREADABLE = [
    (['dog. cat. Dog'], "'dog' and 'Dog' are the same tokens"),
    (['bow_(weapon)', 'bow_(ribbon)'], "'bow' and 'bow' are the same tokens"),
    (
        ['p\u00e2t\u00e9; pate'],
        "'p\u00e2t\u00e9' and 'pate' are the same tokens",
    ),
    (['5 \u20ac. 5 \u00a3'], "'5 \u20ac' and '5 \u00a3' are the same tokens"),
    (['red circle. \u56fe\u738b'], "knows no word of '\u56fe\u738b'"),
    (['dog \udcff'], 'half of a character'),
    (['dog ' * 40_000], "phrase 0 'dog dog dog .*' does not fit"),
    (['. '.join(['dog'] * 40_000)], "'dog' and 39995 more are the same tokens"),
]


@pytest.mark.parametrize('prompt, message', _UNREADABLE)
def test_a_prompt_that_the_model_cannot_read_is_refused_before_it_is_loaded(
    workdir, photo, monkeypatch, prompt, message
):
  monkeypatch.setattr(
      loading, 'load_workdir', lambda *_, **__: pytest.fail('loaded')
  )
  prompts_given = [f'--prompt={name}' for name in prompt]
  with pytest.raises(UserError, match=message):
    _main(
        monkeypatch, f'--workdir={workdir}', f'--image={photo}', *prompts_given
    )


def test_a_comma_list_is_told_to_be_one_name(
    workdir, photo, predictor, monkeypatch, caplog
):
  monkeypatch.setattr(loading, 'load_workdir', lambda *_, **__: predictor)
  _main(
      monkeypatch,
      f'--workdir={workdir}',
      f'--image={photo}',
      '--prompt=a king, an ace',
  )
  assert "'a king, an ace' is one phrase, as commas" in caplog.text


@pytest.mark.parametrize(
    'arguments, message',
    [
        ([], '--workdir is missing, or released --weights'),
        (['--workdir=a', '--weights=glip_t'], 'give one of the two'),
        (['--weights=glip_t', '--step=8'], '--step=8 is of --workdir'),
        (['--workdir=a', '--variant=L'], '--variant=L is of --weights'),
    ],
)
def test_flags_that_do_not_go_together_are_refused(
    photo, monkeypatch, arguments, message
):
  with pytest.raises(UserError, match=message):
    _main(monkeypatch, f'--image={photo}', '--prompt=dog', *arguments)


def test_a_stored_tokenizer_is_fetched_for_who_asks_alone(
    workdir, tmp_path, monkeypatch
):
  stored = tmp_path / 'stored'
  stored.mkdir()
  (stored / 'checkpoints').symlink_to(workdir / 'checkpoints')
  config = _config()
  config.data.tokenizer = 'nobody/none'
  config.compilation_cache = '/theirs'
  configuring.save(fields.to_dict(run.read(config)), stored)
  looks = lambda *_: pytest.fail('it was looked for')
  monkeypatch.setattr('huggingface_hub.hf_hub_download', looks)
  with pytest.raises(UserError, match='give --tokenizer=nobody/none to fetch'):
    loading.load_workdir(stored)
  for name in ('shapes', 'nobody/none'):
    own = loading.stored_config(stored, name)
    assert (own.data.tokenizer, own.compilation_cache) == (name, '')
  told = []
  monkeypatch.setattr(
      predicting, 'make_predictor', lambda config, *_, **__: told.append(config)
  )
  loading.load_workdir(stored, tokenizer='nobody/none')
  assert told[0].data.tokenizer == 'nobody/none'


@pytest.mark.parametrize('kind', ['workdir', 'weights'])
def test_what_is_missing_is_told_before_a_tokenizer_is_looked_for(
    kind, photo, tmp_path, monkeypatch
):
  config = _config()
  config.data.tokenizer = 'nobody/none'
  configuring.save(fields.to_dict(run.read(config)), tmp_path)
  looks = lambda name: pytest.fail('it was looked for')
  monkeypatch.setattr('glip_jax.text.tokenizer.load_tokenizer', looks)
  monkeypatch.setattr('glip_jax.data.element.load_tokenizer', looks)
  given = {
      'workdir': [f'--workdir={tmp_path}'],
      'weights': [f'--weights={tmp_path}/gone.pth', '--variant=T'],
  }
  values = flags.FlagValues()
  predict.define_flags(values)
  monkeypatch.setattr(predict.flags, 'FLAGS', values)
  values(['predict', *given[kind], f'--image={photo}', '--prompt=dog'])
  monkeypatch.chdir(tmp_path)
  with pytest.raises(UserError, match='no checkpoint in|gone.pth cannot be'):
    predict.main([])


def test_a_file_of_prompts_says_what_to_look_for(
    workdir, predictor, photo, monkeypatch, tmp_path, capsys
):
  asked = []
  listening = lambda *args, **options: _Listening(predictor, asked)
  monkeypatch.setattr(loading, 'load_workdir', listening)
  path = tmp_path / 'own.json'
  path.write_text('{"star": {"prefix": "a large"}, "red_circle": "circle"}')
  told = [f'--workdir={workdir}', f'--image={photo}', f'--prompts={path}']
  _main(monkeypatch, *told)
  (text,) = asked
  assert text.caption == 'a large star. circle'
  assert text.phrases == ('star', 'red circle')
  assert capsys.readouterr().out.startswith('phrase')
  with pytest.raises(
      UserError, match='--prompt and --prompts=.*one of the two'
  ):
    _main(monkeypatch, *told, '--prompt=dog')
  with pytest.raises(UserError, match="--prompts='no.json' is not a file"):
    _main(monkeypatch, *told[:2], '--prompts=no.json')


def test_a_predictor_reads_classes_as_captions_where_the_config_says_so(
    predictor, photo
):
  data = settings.read_data(predictor.data)
  own = dataclasses.replace(data, class_captions='mean')
  reader = dataclasses.replace(predictor, data=own)
  found = reader(photo, {'star': {'description': 'large'}, 'circle': {}})
  assert len(found.scores) and set(found.phrases) <= {'star', 'circle'}
  usual = predictor(photo, {'star': {'description': 'large'}, 'circle': {}})
  assert not np.array_equal(found.scores, usual.scores)


def test_released_weights_need_no_training_run(
    photo, predictor, monkeypatch, tmp_path
):
  told = {}

  def load(source, **options):
    told.update(options, source=source)
    return predictor

  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(loading, 'load', load)
  _main(
      monkeypatch,
      '--weights=llmdet_t',
      '--tokenizer=bert',
      f'--image={photo}',
      '--prompt=red circle',
  )
  assert told == dict(
      source='llmdet_t', variant=None, tokenizer='bert', threshold=None
  )
  assert (tmp_path / 'runs/llmdet_t/predictions/photo.png').exists()


def _main(monkeypatch, *arguments):
  """Runs the command line on flags of its own."""
  values = flags.FlagValues()
  predict.define_flags(values)
  values(['predict', *arguments])
  monkeypatch.setattr(flags, 'FLAGS', values)
  predict.main([])


class _Listening:
  """A predictor that keeps the prompts it is asked."""

  def __init__(self, predictor, asked):
    self._predictor, self._asked = predictor, asked

  def __call__(self, image, text):
    self._asked.append(text)
    return self._predictor(image, text)


def _run(*arguments):
  return subprocess.run(
      [sys.executable, '-m', 'glip_jax.predict', *arguments],
      cwd=ROOT,
      env=os.environ | {'JAX_PLATFORMS': 'cpu'},
      capture_output=True,
      text=True,
      timeout=300,
  )


@pytest.mark.large
def test_the_command_runs_from_end_to_end(workdir, photo, tmp_path):
  out = tmp_path / 'found.webp'
  done = _run(
      f'--workdir={workdir}',
      f'--image={photo}',
      '--prompt=red circle. dog',
      f'--out={out}',
  )
  assert done.returncode == 0, done.stderr
  assert done.stdout.startswith('phrase')
  assert done.stdout.endswith(f'\n{out}\n')
  assert out.exists()


def test_the_command_says_what_is_missing_in_one_line():
  done = _run('--workdir=runs/x', '--image=photo.jpg')
  assert done.returncode == 1
  assert done.stdout == ''
  assert done.stderr.startswith('error: --prompt is missing; for example')
  assert done.stderr.count('\n') == 1
