"""Makes pooler.npz and pooler.json: transformers' BertModel on two prompts.

  PYTHONPATH=tests python tests/golden/bert/make.py

Made with torch 2.13.0 and transformers 5.24.0, in float64.
"""

import json
import pathlib

import named_weights
import numpy as np
import torch
import transformers

FOLDER = pathlib.Path(__file__).parent
SIZES = dict(
    vocab_size=50,
    hidden_size=16,
    num_hidden_layers=2,
    num_attention_heads=2,
    intermediate_size=32,
    max_position_embeddings=12,
)


def main():
  """Writes the names and shapes of the weights, the prompts and the outputs."""
  model = transformers.BertModel(transformers.BertConfig(**SIZES)).eval()
  shapes = {key: list(x.shape) for key, x in model.named_parameters()}
  state = {
      key: torch.from_numpy(named_weights.make(key, tuple(shape)))
      for key, shape in shapes.items()
  }
  model.load_state_dict(state, strict=False)
  ids = np.random.default_rng(0).integers(0, 50, (2, 10))
  mask = np.arange(10) < np.array([[10], [6]])
  with torch.no_grad():
    out = model.double()(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy(mask).long(),
    )
  np.savez_compressed(
      FOLDER / 'pooler.npz',
      ids=ids,
      mask=mask,
      tokens=out.last_hidden_state.numpy(),
      pooled=out.pooler_output.numpy(),
  )
  (FOLDER / 'pooler.json').write_text(json.dumps(shapes, indent=0) + '\n')


if __name__ == '__main__':
  main()
