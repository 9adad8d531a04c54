"""Detection sources that ask for each class in words of its own."""

from __future__ import annotations

from glip_jax.data.sources.protocol import Source, is_detection
from glip_jax.data.sources.selection import find_name
from glip_jax.errors import UserError
from glip_jax.text import class_prompts, prompts


def by_class(source: Source, wordings: class_prompts.Wordings) -> Source:
  """The same source with words around the names of its classes.

  Args:
    source: a detection source.
    wordings: by what a class is called in the prompt, capitals aside. Classes
      that are not among them keep their names.

  Raises:
    UserError: it has no vocabulary, or a prompt that is no list of its names, a
      class is unknown, or one is there twice.
  """
  if not is_detection(source):
    raise UserError(
        'class_prompts are of a source with classes, and here each image has a'
        ' text of its own: leave class_prompts out'
    )
  if source.prompt != prompts.from_names(source.names):
    raise UserError(
        'published_prompt=True asks for the classes in words of its own, and so'
        ' do class_prompts: give one of the two'
    )
  found: dict[str, tuple[class_prompts.Wording, ...]] = {}
  for key, own in wordings.items():
    name = find_name(key, source.names, 'the source, of class_prompts')
    if name in found:
      raise UserError(
          f'class_prompts has the class {name!r} twice: write its prompts as'
          ' one list'
      )
    found[name] = own
  return source.with_prompt(class_prompts.prompt(source.names, found))
