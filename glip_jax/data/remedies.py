"""What to do about each kind of fault that a `Report` counts."""

from __future__ import annotations

# By the kind of fault, or the words that it begins with.
REMEDIES = {
    'missing image': 'put the file into images=, or take its entry out',
    'image without id': 'give it an id of its own',
    'image without file_name': 'give it a file_name',
    'image without caption': 'write a caption, or take the entry out',
    'image without sentences or annotations': (
        'download its two files again, or take it out of the split'
    ),
    'second image of the same id': 'give each image an id of its own',
    'one of several names of a single file': (
        'write its name as it is on disk, in each entry'
    ),
    'file_name that is a URL': 'download it, and give the path within images=',
    'file_name outside the images folder': 'give a path within images=',
    'name in a list that leaves the folder': 'give a path within the folder',
    'filename of another image than its own': 'correct its <filename>',
    'caption with half of a character': 'write the caption anew, in UTF-8',
    'caption that cannot be read': 'write words, in UTF-8',
    'box of an unknown class': 'correct its category_id, or add the class',
    'box of an unknown image': 'correct its image_id, or add the image',
    'box without tokens_positive': 'give it a list of [start, end) spans',
    'malformed box': 'write [x, y, width, height], four numbers, in pixels',
    'malformed span': 'write [start, end), characters of its caption',
    'phrase that is not in its caption': (
        'correct the words, or give tokens_positive'
    ),
    'object without a name': 'give it the name of a class',
    'class without': 'give each class a number or id, and a name of words',
    'entry that is no dict': 'take it out, or write it as the others',
    'line that is no JSON': 'write one JSON record a line',
    'line that is no label': 'write class x y width height, parts of the image',
    'labels that cannot be read': 'save them as text, in UTF-8',
    'record without': 'add what it lacks, or take it out',
    'record whose boxes, scores and spans do not match': (
        'give as many of each, one a box'
    ),
    'score that is not in 0..1': 'give each box a score from 0 to 1',
    'XML that cannot be read': (
        'write it anew, well-formed and without a document type'
    ),
    'archive that cannot be read': 'copy it again, uncompressed',
    'file that ends behind its archive': 'copy the archive again, to its end',
    'link or other special file in an archive': (
        'put the file itself into the archive'
    ),
}
_OTHERWISE = 'mend it in the file'


def remedy(kind: str) -> str:
  """What to do about a kind of fault."""
  for begin, said in REMEDIES.items():
    if kind.startswith(begin):
      return said
  return _OTHERWISE
