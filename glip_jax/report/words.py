"""What stands beside numbers: the protocol that each was measured by."""

from collections.abc import Mapping

PROTOCOLS: Mapping[str, str] = {
    'detection': (
        'COCO: detections of an image and class are matched best first, each'
        ' to the box that it overlaps most; crowds are ignored; at most 100 an'
        ' image and class count. Matched by pycocotools, or by hotcoco with'
        ' the same result.'
    ),
    'lvis': (
        'LVIS: of a class those images count that have a box of it or list it'
        ' as negative. Fixed AP takes the best 10,000 detections of a class'
        ' over the set, @300 the best 300 of an image. Matched by pycocotools.'
    ),
    'voc': (
        'Pascal VOC: a detection belongs to the box that it overlaps most, and'
        ' is wrong if a better one has taken that; difficult boxes count for'
        ' nothing.'
    ),
    'flickr30k': (
        'Flickr30k Entities: the boxes of each phrase best first. Any box: one'
        ' box of the phrase must be overlapped; merged box: the union of them.'
    ),
    'grounding': 'Recall of phrases by their best box.',
    'referring': (
        'Accuracy of the best box of the first phrase of each caption; where'
        ' nothing fits, whether anything is found.'
    ),
    'unknown': 'Objects that no phrase names, at one overlap.',
}

_RANGE = 'IoU 0.50 to 0.95 in steps of 0.05, 101 recalls'
_SIZES = {
    's': 'boxes of less than 32 x 32 pixels',
    'm': 'boxes from 32 x 32 to 96 x 96 pixels',
    'l': 'boxes of 96 x 96 pixels and more',
}
_RARITY = {
    'r': 'rare classes (1 to 10 training images)',
    'c': 'common classes (11 to 100)',
    'f': 'frequent classes (more)',
}
_METRICS: Mapping[str, str] = {
    'AP': f'mean over {_RANGE}',
    'AP50': 'at IoU 0.50',
    'AP75': 'at IoU 0.75',
    **{f'AP{x}': said for x, said in (_SIZES | _RARITY).items()},
    'AR': 'recall, mean over the overlaps',
    **{f'AR{k}': f'recall, {k} an image and class' for k in (1, 10, 100)},
    **{f'AR{x}': f'recall, {said}' for x, said in _SIZES.items()},
    'AP50_11_points': 'at IoU 0.50, mean of 11 recalls (VOC 2007)',
    'recall@1': 'the best box of the phrase is right',
    'recall@5': 'one of the best 5 is right',
    'recall@10': 'one of the best 10 is right',
    'upper_bound': 'any box is right',
    'accuracy': 'the best box is right',
    'no_target_accuracy': 'nothing is found where nothing fits',
}


def metric(name: str) -> str:
  """What a number is; '' where its name says it.

  Args:
    name: of a metric, such as 'AP@300' or 'merged/recall@1'.
  """
  if name.startswith('merged/'):
    return f'{metric(name.removeprefix("merged/"))}, merged box'
  if name.endswith('@300'):
    return f'{metric(name.removesuffix("@300"))}; the best 300 of an image'
  return _METRICS.get(name, '')
