"""Makes resnet50.npz and resnet50.json: torchvision's resnet50 on two images.

  PYTHONPATH=tests python tests/golden/resnet/make.py

Made with torch 2.13.0 and torchvision 0.28.0, in float64. Of every map each
32nd channel is kept, in the order h w d.
"""

import json
import pathlib

import named_weights
import numpy as np
import torch
import torchvision

FOLDER = pathlib.Path(__file__).parent
SIZES = ((96, 128), (75, 101))


def stages(model: torch.nn.Module, image: np.ndarray) -> list[np.ndarray]:
  """The maps after each stage, every 32nd channel."""
  x = torch.from_numpy(image).double().permute(2, 0, 1)[None]
  x = model.maxpool(model.relu(model.bn1(model.conv1(x))))
  maps = []
  for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
    x = layer(x)
    print(tuple(x.shape), float(x.abs().max()), float(x.std()))
    maps.append(x[0, ::32].permute(1, 2, 0).numpy().astype(np.float32))
  return maps


def main():
  """Writes the names and shapes of the weights, the images and the maps."""
  model = torchvision.models.resnet50(weights=None).eval()
  shapes = {
      key: list(x.shape)
      for key, x in model.state_dict().items()
      if not key.endswith('num_batches_tracked')
  }
  state = {
      key: torch.from_numpy(named_weights.make(key, tuple(shape)))
      for key, shape in shapes.items()
  }
  model.load_state_dict(state, strict=False)
  model = model.double()
  rng = np.random.default_rng(0)
  stored = {}
  with torch.no_grad():
    for i, size in enumerate(SIZES):
      image = rng.standard_normal((*size, 3)).astype(np.float16)
      stored[f'image{i}'] = image
      for j, feature in enumerate(stages(model, image.astype(np.float32))):
        stored[f'map{i}_{j}'] = feature
  np.savez_compressed(FOLDER / 'resnet50.npz', **stored)
  (FOLDER / 'resnet50.json').write_text(json.dumps(shapes, indent=0) + '\n')


if __name__ == '__main__':
  main()
