"""What would be waited for without an end is refused before it is opened."""

import os
import socket

import pytest

from glip_jax import configuring
from glip_jax.data import images
from glip_jax.data.sources import annotation_file
from glip_jax.errors import UserError
from glip_jax.text import tokenizer
from glip_jax.weights import formats

READERS = {
    'image': images.read_image,
    'image size': images.image_size,
    'annotations': lambda path: annotation_file.read_json(
        path, name='annotations'
    ),
    'weights': lambda path: formats.read(path / 'model.pth'),
    'safetensors': lambda path: formats.read(path / 'model.safetensors'),
    'tokenizer': lambda path: tokenizer.load_tokenizer(str(path)),
    'vocab': lambda path: tokenizer.load_tokenizer(str(path / 'vocab.txt')),
    'config': lambda path: configuring.load(path.parent),
}
NAMES = {
    'weights': 'model.pth',
    'safetensors': 'model.safetensors',
    'vocab': 'vocab.txt',
    'config': 'config.json',
}


def _place(folder, name):
  """The path that a reader is given, and that of what it opens."""
  file = folder / NAMES.get(name, 'file')
  return (folder if name in NAMES and name != 'config' else file), file


@pytest.mark.parametrize('name', READERS)
def test_a_pipe_is_refused_at_once(tmp_path, name):
  given, file = _place(tmp_path, name)
  os.mkfifo(file)
  with pytest.raises(UserError, match=r'a pipe \(FIFO\)'):
    READERS[name](given)


@pytest.mark.parametrize('name', READERS)
def test_a_socket_and_a_device_are_refused_at_once(tmp_path, name):
  given, file = _place(tmp_path, name)
  with socket.socket(socket.AF_UNIX) as server:
    server.bind(str(file))
    with pytest.raises(UserError, match='a socket'):
      READERS[name](given)
  file.unlink()
  file.symlink_to('/dev/zero')
  with pytest.raises(UserError, match='a device'):
    READERS[name](given)
