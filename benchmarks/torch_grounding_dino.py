"""Hugging Face's Grounding DINO, as `benchmarks.grounding_dino` asks for it.

It runs in an interpreter that has torch and transformers and needs nothing of
this project. Weights are random: what they are does not change what it costs.
"""

import sys

import answering


def main(height: int, width: int, tokens: int) -> None:
  """Serves forward passes of the tiny model, with weights by chance.

  Args:
    height: of the image, pixels.
    width: likewise.
    tokens: of the prompt, all in use.
  """
  import torch
  import transformers

  config = transformers.GroundingDinoConfig()
  model = transformers.GroundingDinoForObjectDetection(config).eval()
  generator = torch.Generator().manual_seed(0)
  image = torch.randn((1, 3, height, width), generator=generator)
  ids = torch.randint(2000, 20000, (1, tokens), generator=generator)
  ids[:, 3::3] = 1012  # A full stop after every second token.
  ids[:, 0], ids[:, -1] = 101, 102
  given = dict(
      pixel_values=image,
      pixel_mask=torch.ones((1, height, width), dtype=torch.long),
      input_ids=ids,
      attention_mask=torch.ones_like(ids),
      token_type_ids=torch.zeros_like(ids),
  )
  title = f'torch {torch.__version__}, transformers {transformers.__version__}'

  def run():
    with torch.inference_mode():
      model(**given)

  answering.serve(f'{title}, {torch.get_num_threads()} threads', run)


if __name__ == '__main__':
  main(*map(int, sys.argv[1:]))
