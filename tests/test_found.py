"""What was found, in the forms that others take, drawn, cut and written."""

import json
import sys
import types

import numpy as np
import pytest
from PIL import Image

from glip_jax import draw, found
from glip_jax.data import image_inputs
from glip_jax.errors import UserError
from glip_jax.text import prompts

HEIGHT, WIDTH = 100, 200


@pytest.fixture
def pixels():
  return np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)


@pytest.fixture
def seen(pixels):
  """A dog, something that nothing names, and a cat."""
  return found.Found(
      boxes=np.array([[20, 10, 60, 50], [0, 0, 9, 9], [100, 50, 220, 100.0]]),
      scores=np.array([0.9, 0.5, 0.25], np.float32),
      phrases=('dog', prompts.UNKNOWN, 'cat'),
      asked=prompts.from_names(('cat', 'dog')),
      threshold=0.2,
      labels=np.array([1, -1, 0]),
      image=image_inputs.Input(pixels, 'a.png'),
      size=(HEIGHT, WIDTH),
  )


def test_transformers_form_has_a_dict_for_each_box(seen):
  first, _, last = seen.to_hf()
  assert first == {
      'score': pytest.approx(0.9),
      'label': 'dog',
      'box': {'xmin': 20, 'ymin': 10, 'xmax': 60, 'ymax': 50},
  }
  assert last['label'] == 'cat'
  json.dumps(seen.to_hf())


def test_cocos_form_has_ids_and_sides(seen):
  dog, cat = seen.to_coco(image_id=7)
  assert (dog['image_id'], dog['category_id']) == (7, 2)
  assert dog['bbox'] == [20, 10, 40, 40]
  assert cat['category_id'] == 1
  ids = [row['category_id'] for row in seen.to_coco(7, {'cat': 17, 'dog': 18})]
  assert ids == [18, 17]
  with pytest.raises(UserError, match="categories has no id of 'cat'"):
    seen.to_coco(7, {'dog': 18})


def test_yolos_lines_are_shares_of_the_image(seen):
  dog, cat = seen.to_yolo().splitlines()
  assert dog == '1 0.200000 0.300000 0.200000 0.400000'
  assert cat.startswith('0 0.8')
  assert seen.to_yolo(scores=True).splitlines()[0] == f'{dog} 0.900000'


def test_layouts_of_generators_are_shares_inside_the_image(seen):
  layout = json.loads(json.dumps(seen.to_gligen()))
  assert layout['prompt'] == 'cat. dog'
  assert layout['phrases'] == ['dog', prompts.UNKNOWN, 'cat']
  assert layout['locations'][0] == [0.1, 0.1, 0.3, 0.5]
  assert layout['locations'][2] == [0.5, 0.5, 1.0, 1.0]


def test_prompts_of_sam_are_boxes_of_one_image(seen):
  boxes = seen.to_sam()['input_boxes']
  assert np.shape(boxes) == (1, 3, 4)
  assert boxes[0][0] == [20, 10, 60, 50]


def test_packages_that_are_missing_are_named(seen, monkeypatch):
  forms = dict(pandas=seen.to_pandas, supervision=seen.to_supervision)
  for name, form in forms.items():
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=rf"pip install 'glip_jax\[{name}\]'"):
      form()


def test_other_packages_are_given_what_their_constructors_take(
    seen, monkeypatch
):
  keep = lambda **given: given
  monkeypatch.setitem(
      sys.modules, 'supervision', types.SimpleNamespace(Detections=keep)
  )
  given = seen.to_supervision()
  assert given['xyxy'].shape == (3, 4) and given['xyxy'].dtype == np.float32
  assert given['class_id'].tolist() == [1, -1, 0]
  assert given['data']['class_name'].tolist() == list(seen.phrases)
  monkeypatch.setitem(
      sys.modules,
      'pandas',
      types.SimpleNamespace(DataFrame=lambda table: table),
  )
  table = seen.to_pandas()
  assert list(table) == 'image phrase label score x0 y0 x1 y1'.split()
  assert table['image'] == ['a.png'] * 3
  assert table['x1'].tolist() == [60, 9, 220]


def test_nothing_found_has_every_form(pixels):
  none = found.Found(
      np.zeros((0, 4)),
      np.zeros(0),
      (),
      asked=prompts.from_names(('dog',)),
      image=image_inputs.Input(pixels),
      size=(HEIGHT, WIDTH),
  )
  assert none.to_hf() == none.to_coco() == none.crop() == []
  assert none.to_yolo() == ''
  assert none.to_sam() == {'input_boxes': [[]]}
  assert none.to_gligen()['locations'] == []
  assert none.draw(prompt=False).size[0] >= WIDTH


def test_some_of_it_can_be_taken(seen):
  assert seen[0].phrases == ('dog',) and len(seen[1:]) == 2
  high = seen[seen.scores > 0.3]
  assert high.phrases == ('dog', prompts.UNKNOWN)
  assert high.boxes.shape == (2, 4) and high.labels.tolist() == [1, -1]


def test_crops_are_the_pixels_inside_the_boxes(seen, pixels):
  dog, _, cat = seen.crop()
  np.testing.assert_array_equal(np.asarray(dog), pixels[10:50, 20:60])
  assert cat.size == (100, 50)  # What lies in the image.
  assert seen.crop(margin=0.5)[0].size == (80, 70)


def test_the_drawing_has_the_prompt_in_the_colours_of_the_boxes(seen):
  drawn = np.asarray(seen.draw())
  bare = seen.draw(prompt=False)
  assert drawn.shape[0] > bare.height and drawn.shape[1] == bare.width
  beneath = drawn[bare.height :]
  colours = draw.label_colours(['cat', 'dog', prompts.UNKNOWN])
  for phrase in ('cat', 'dog'):
    assert (beneath == colours[phrase]).all(-1).any()
  assert not (beneath == colours[prompts.UNKNOWN]).all(-1).any()
  only = np.asarray(seen[:1].draw())[bare.height :]
  assert not (only == colours['cat']).all(-1).any()


def test_a_phrase_keeps_its_colour_whatever_else_is_found(seen):
  for part in (seen, seen[:1], seen[2:]):
    colours = draw.label_colours(['cat', 'dog', prompts.UNKNOWN])
    drawn = np.asarray(part.draw(prompt=False))
    for phrase in part.phrases:
      assert (drawn == colours[phrase]).all(-1).any()


@pytest.mark.parametrize('ending', ['.json', '.csv', '.txt', '.png', '.JPG'])
def test_it_is_written_as_the_ending_says(seen, tmp_path, ending):
  path = tmp_path / 'new' / f'found{ending}'
  seen.save(path)
  if ending == '.json':
    read = json.loads(path.read_text())
    assert read['phrases'] == list(seen.phrases)
    assert read['size'] == [HEIGHT, WIDTH] and read['image'] == 'a.png'
  elif ending == '.csv':
    heading, first, *_ = path.read_text().splitlines()
    assert heading == 'image,phrase,score,x0,y0,x1,y1'
    assert first.endswith(',20.0,10.0,60.0,50.0')
  elif ending == '.txt':
    assert path.read_text() == seen.to_yolo(scores=True)
  else:
    with Image.open(path) as image:
      assert image.size == seen.draw().size


def test_what_cannot_be_written_or_drawn_is_refused(seen, tmp_path):
  with pytest.raises(UserError, match='let it end in one of .png.*.csv'):
    seen.save(tmp_path / 'found.doc')
  bare = found.Found(seen.boxes, seen.scores, seen.phrases)
  assert bare.labels.tolist() == [0, 1, 2]
  with pytest.raises(UserError, match='holds no image to draw on'):
    bare.draw()
  with pytest.raises(UserError, match='size is None, and to_yolo gives shares'):
    bare.to_yolo()
