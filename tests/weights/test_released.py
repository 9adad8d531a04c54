"""Released files come from the hub's cache; no test reaches the hub itself."""

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub import errors as hub_errors

from glip_jax import errors
from glip_jax.detectors import recipe as recipes
from glip_jax.weights import released

FILE = 'glip_tiny_model_o365_goldg_cc_sbu.pth'


@pytest.fixture
def cache(monkeypatch, tmp_path):
  """An empty cache of the hub, with no way to the hub."""
  monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path))
  monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
  return tmp_path


def _put(cache, content):
  """Lays a file down as the hub's package does."""
  folder = cache / 'models--GLIPModel--GLIP'
  for name in ('refs', 'blobs', 'snapshots/5eed'):
    (folder / name).mkdir(parents=True)
  (folder / 'refs' / 'main').write_text('5eed')
  (folder / 'blobs' / 'b10b').write_bytes(content)
  (folder / 'snapshots' / '5eed' / FILE).symlink_to('../../blobs/b10b')


def test_a_name_is_fetched_from_the_repository(monkeypatch, tmp_path):
  asked = []

  def download(repository, file, **options):
    asked.append((repository, file, options))
    return str(tmp_path / file)

  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
  assert released.fetch('glip_t') == tmp_path / FILE
  assert asked == [('GLIPModel/GLIP', FILE, {})]


def test_a_file_of_the_cache_is_found_offline(cache):
  _put(cache, b'weights')
  assert released.fetch('glip_t').read_bytes() == b'weights'
  assert released.fetch('glip_t').name == FILE


def test_offline_the_message_says_which_file_to_put_where(cache):
  with pytest.raises(errors.UserError) as caught:
    released.fetch('glip_t')
  message = str(caught.value)
  assert message.startswith('glip_t cannot be fetched (OfflineModeIsEnabled:')
  url = f'https://huggingface.co/GLIPModel/GLIP/resolve/main/{FILE}'
  assert f'fetch {url} elsewhere' in message
  assert f'--weights={FILE}' in message and str(cache) in message
  assert '\n' not in message


@pytest.mark.parametrize(
    'error',
    [
        hub_errors.XetDownloadError('one line\n\nand another'),
        OSError(28, 'No space left on device', 'x'),
        ValueError('of a library below'),
    ],
)
def test_whatever_stands_in_the_way_is_one_line(monkeypatch, error):
  def download(*_):
    raise error

  monkeypatch.setattr(huggingface_hub, 'hf_hub_download', download)
  with pytest.raises(errors.UserError, match=type(error).__name__) as caught:
    released.fetch('glip_l')
  assert '\n' not in str(caught.value)
  assert '--weights=glip_large_model.pth' in str(caught.value)


def test_unknown_names_are_refused_with_those_there_are():
  with pytest.raises(errors.UserError, match="choose one of .*'glip_t'"):
    released.fetch('glip_x')


def test_every_released_file_is_of_a_variant():
  for name, row in released.RELEASED.items():
    assert recipes.variant(row.variant), name
    assert released.variant_of(name) == row.variant


def test_a_file_that_only_one_model_has_says_of_which_it_is():
  file = 'downloads/glip_large_model.pth'
  assert released.variant_of(file) == released.variant_of('glip_l') == 'L'
  assert released.variant_of('mine.pth') is None
  # Many repositories have one.
  assert released.variant_of('llmdet_tiny/model.safetensors') is None


@pytest.mark.parametrize(
    'name, repository, variant',
    [
        ('grounding_dino_t', 'IDEA-Research/grounding-dino-tiny', 'T'),
        ('grounding_dino_b', 'IDEA-Research/grounding-dino-base', 'B'),
        (
            'mm_grounding_dino_t',
            'openmmlab-community/mm_grounding_dino_tiny_o365v1_goldg_grit_v3det',
            'mm_T',
        ),
        (
            'mm_grounding_dino_large_o365v2_oiv6_goldg',
            'openmmlab-community/mm_grounding_dino_large_o365v2_oiv6_goldg',
            'mm_L',
        ),
        ('llmdet_b', 'iSEE-Laboratory/llmdet_base', 'mm_B'),
    ],
)
def test_grounding_dinos_are_hugging_faces_files(
    cache, name, repository, variant
):
  with pytest.raises(errors.UserError) as caught:
    released.fetch(name)
  url = f'https://huggingface.co/{repository}/resolve/main/model.safetensors'
  prefix, _, size = variant.rpartition('_')
  whole = f'{prefix}_grounding_dino_{size}'.lstrip('_')
  assert f'fetch {url} elsewhere' in str(caught.value)
  assert f'--weights=model.safetensors, of variant {whole})' in str(
      caught.value
  )
