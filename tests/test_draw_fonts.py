"""Names in any script are drawn, or written as escapes."""

import numpy as np
import pytest
from PIL import ImageFont

from glip_jax import draw_fonts, draw_labels


@pytest.fixture
def no_fonts(monkeypatch):
  """A machine without fontconfig."""
  monkeypatch.setattr(draw_fonts.shutil, 'which', lambda _: None)
  for cached in (draw_fonts.drawable, draw_fonts._system_font):
    cached.cache_clear()
  yield
  for cached in (draw_fonts.drawable, draw_fonts._system_font):
    cached.cache_clear()


def test_plain_names_keep_the_font_of_pillow():
  assert draw_fonts.drawable('red circle, 3.5!') == 'red circle, 3.5!'
  own = ImageFont.load_default(20)
  assert draw_fonts.font(20, 'red').getname() == own.getname()


def test_letters_that_no_font_has_are_escapes(no_fonts, caplog):
  assert draw_fonts.drawable('猫 cat') == r'\u732b cat'
  assert draw_labels.fit('猫', 20, 500) == r'\u732b'
  assert draw_labels.wrap('a 猫', 20, 500) == [r'a \u732b']
  width = draw_labels.label_size(r'\u732b', 20)
  assert draw_labels.label_size(draw_labels.fit('猫', 20, 500), 20) == width


def test_a_font_of_the_machine_is_taken_where_it_has_the_letters(monkeypatch):
  """A font that travels with matplotlib stands for one of the machine."""
  data = pytest.importorskip('matplotlib').get_data_path()
  path = f'{data}/fonts/ttf/DejaVuSans.ttf'
  monkeypatch.setattr(draw_fonts, '_system_font', lambda _: path)
  draw_fonts.drawable.cache_clear()
  assert draw_fonts.drawable('кот') == 'кот'
  face = draw_fonts.font(20, 'кот')
  assert face.getname()[0] == 'DejaVu Sans'
  shapes = [np.asarray(face.getmask(x)).tobytes() for x in 'кот']
  assert len(set(shapes)) == 3
  assert draw_labels.label_size('кот', 20) != draw_labels.label_size('cat', 20)
  draw_fonts.drawable.cache_clear()
