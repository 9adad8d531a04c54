"""Sets that TFDS has prepared, of any features."""

import io
import pickle

import tensorflow_datasets as tfds
from PIL import Image

from glip_jax.data.sources import table

F = tfds.features
# 20 x 40 pixels: (ymin, xmin, ymax, xmax) and the same as xyxy.
BOX, XYXY = F.BBox(0.1, 0.25, 0.5, 0.75), [10.0, 2.0, 30.0, 10.0]
CLASSES = F.ClassLabel(names=['cat', 'dog', 'owl'])


def image():
  file = io.BytesIO()
  Image.new('RGB', (40, 20), (9, 99, 199)).save(file, 'PNG')
  file.seek(0)
  return file


def prepare(folder, dataset, features, examples, config=None):
  """A set of this name and config, as ArrayRecord in a data_dir."""

  class Toy(tfds.core.GeneratorBasedBuilder, skip_registration=True):
    name = dataset
    VERSION = tfds.core.Version('1.0.0')
    code_path = None

    def _info(self):
      own = {'image': F.Image(shape=(None, None, 3))} | features
      return tfds.core.DatasetInfo(
          builder=self,
          features=F.FeaturesDict(own),
          disable_shuffling=True,
      )

    def _split_generators(self, manager):
      return {'train': self._generate_examples()}

    def _generate_examples(self):
      for number, example in enumerate(examples):
        yield number, {'image': image()} | example

  given = {'config': tfds.core.BuilderConfig(name=config)} if config else {}
  builder = Toy(data_dir=folder, file_format='array_record', **given)
  builder.download_and_prepare()
  return builder


def opened(folder, dataset, **fields):
  spec = {'source': 'tfds', 'directory': str(folder), 'dataset': dataset}
  source = table.open_source(spec | {'split': 'train'} | fields)
  return pickle.loads(pickle.dumps(source))
