"""The 35 data sets of ODinW: where they lie, what their classes are called.

Facts of microsoft/GLIP, configs/odinw_35 and configs/odinw_13. The names are
those that GLIP names classes by, which are not always those in the files.
"""

from __future__ import annotations

import dataclasses
import string
from collections.abc import Mapping

# (before the name, name, behind the name) of each class.
Prompt = tuple[tuple[str, str, str], ...]


@dataclasses.dataclass(frozen=True)
class OdinwSet:
  """One of the sets.

  Attributes:
    folder: within the folder of all sets.
    names: of the classes of ids 1, 2, ...; '' of one that has no name.
    evaluated: the split that published results are of.
    in_13: True for those of ODinW-13.
    is_export: True where files of all splits and images are in one folder.
    prompt: the hand-made prompt, where one is published.
  """

  folder: str
  names: tuple[str, ...]
  evaluated: str = 'val'
  in_13: bool = False
  is_export: bool = False
  prompt: Prompt = ()


def _listed(names: str) -> tuple[str, ...]:
  return tuple(names.split(', '))


_BOATS = _listed('boat, car, dock, jetski, lift')
_BREEDS = _listed(
    'cat-Abyssinian, cat-Bengal, cat-Birman, cat-Bombay, cat-British_Shorthair,'
    ' cat-Egyptian_Mau, cat-Maine_Coon, cat-Persian, cat-Ragdoll,'
    ' cat-Russian_Blue, cat-Siamese, cat-Sphynx, dog-american_bulldog,'
    ' dog-american_pit_bull_terrier, dog-basset_hound, dog-beagle, dog-boxer,'
    ' dog-chihuahua, dog-english_cocker_spaniel, dog-english_setter,'
    ' dog-german_shorthaired, dog-great_pyrenees, dog-havanese,'
    ' dog-japanese_chin, dog-keeshond, dog-leonberger, dog-miniature_pinscher,'
    ' dog-newfoundland, dog-pomeranian, dog-pug, dog-saint_bernard,'
    ' dog-samoyed, dog-scottish_terrier, dog-shiba_inu,'
    ' dog-staffordshire_bull_terrier, dog-wheaten_terrier,'
    ' dog-yorkshire_terrier'
)
_FONTS = _listed(
    'American Typewriter, Andale Mono, Apple Chancery, Arial, Avenir,'
    ' Baskerville, Big Caslon, Bradley Hand, Brush Script MT, Chalkboard,'
    ' Comic Sans MS, Copperplate, Courier, Didot, Futura, Geneva, Georgia,'
    ' Gill Sans, Helvetica, Herculanum, Impact, Kefa, Lucida Grande, Luminari,'
    ' Marker Felt, Menlo, Monaco, Noteworthy, Optima, PT Sans, PT Serif,'
    ' Palatino, Papyrus, Phosphate, Rockwell, SF Pro, SignPainter, Skia,'
    ' Snell Roundhand, Tahoma, Times New Roman, Trebuchet MS, Verdana'
)
_LEAVES = _listed(
    'Apple Scab Leaf, Apple leaf, Apple rust leaf, Bell_pepper leaf,'
    ' Bell_pepper leaf spot, Blueberry leaf, Cherry leaf, Corn Gray leaf spot,'
    ' Corn leaf blight, Corn rust leaf, Peach leaf, Potato leaf,'
    ' Potato leaf early blight, Potato leaf late blight, Raspberry leaf,'
    ' Soyabean leaf, Soybean leaf, Squash Powdery mildew leaf,'
    ' Strawberry leaf, Tomato Early blight leaf, Tomato Septoria leaf spot,'
    ' Tomato leaf, Tomato leaf bacterial spot, Tomato leaf late blight,'
    ' Tomato leaf mosaic virus, Tomato leaf yellow virus, Tomato mold leaf,'
    ' Tomato two spotted spider mites leaf, grape leaf, grape leaf black rot'
)
_VOC = _listed(
    'aeroplane, bicycle, bird, boat, bottle, bus, car, cat, chair, cow,'
    ' diningtable, dog, horse, motorbike, person, pottedplant, sheep, sofa,'
    ' train, tvmonitor'
)

ODINW: Mapping[str, OdinwSet] = {
    'AerialMaritimeDrone_large': OdinwSet(
        'AerialMaritimeDrone/large', _BOATS, in_13=True
    ),
    'AerialMaritimeDrone_tiled': OdinwSet('AerialMaritimeDrone/tiled', _BOATS),
    'AmericanSignLanguageLetters': OdinwSet(
        'AmericanSignLanguageLetters/American Sign Language Letters.v1-v1.coco',
        tuple(string.ascii_uppercase),
    ),
    'Aquarium': OdinwSet(
        'Aquarium/Aquarium Combined.v2-raw-1024.coco',
        _listed('fish, jellyfish, penguin, puffin, shark, starfish, stingray'),
        in_13=True,
        prompt=(
            (' ', 'fish', ''),
            ('', 'jellyfish', ''),
            ('', 'penguin', ' , which is black and white'),
            ('', 'puffin', ' with orange beaks '),
            ('', 'shark', ''),
            ('', 'starfish', ''),
            ('', 'stingray', ' which is flat and round'),
        ),
    ),
    'BCCD': OdinwSet('BCCD/BCCD.v3-raw.coco', _listed('Platelets, RBC, WBC')),
    'ChessPieces': OdinwSet(
        'ChessPieces/Chess Pieces.v23-raw.coco',
        _listed(
            ', black bishop, black king, black knight, black pawn, black queen,'
            ' black rook, white bishop, white king, white knight, white pawn,'
            ' white queen, white rook'
        ),
    ),
    'CottontailRabbits': OdinwSet('CottontailRabbits', ('rabbit',), in_13=True),
    'DroneControl': OdinwSet(
        'DroneControl/Drone Control.v3-raw.coco',
        _listed(
            'follow, follow_hand, land, land_hand, null, object, takeoff,'
            ' takeoff-hand'
        ),
        'minival',
    ),
    'EgoHands_generic': OdinwSet(
        'EgoHands/generic',
        ('hand',),
        'minival',
        in_13=True,
        prompt=((' ', 'hand', ' of a person'),),
    ),
    'EgoHands_specific': OdinwSet(
        'EgoHands/specific',
        _listed('myleft, myright, yourleft, yourright'),
        'minival',
    ),
    'HardHatWorkers': OdinwSet(
        'HardHatWorkers/raw', _listed('head, helmet, person')
    ),
    'MaskWearing': OdinwSet('MaskWearing/raw', _listed('mask, no-mask')),
    'MountainDewCommercial': OdinwSet('MountainDewCommercial', ('bottle',)),
    'NorthAmericaMushrooms': OdinwSet(
        'NorthAmericaMushrooms/North American Mushrooms.v1-416x416.coco',
        _listed('flat mushroom, yellow mushroom'),
        in_13=True,
    ),
    'OxfordPets_by-breed': OdinwSet('OxfordPets/by-breed', _BREEDS, 'minival'),
    'OxfordPets_by-species': OdinwSet(
        'OxfordPets/by-species', _listed('cat, dog'), 'minival'
    ),
    'PKLot': OdinwSet(
        'PKLot/640', _listed('space-empty, space-occupied'), 'minival'
    ),
    'Packages': OdinwSet(
        'Packages/Raw',
        ('package',),
        in_13=True,
        prompt=(('there is a ', 'package', ' on the porch'),),
    ),
    'PascalVOC': OdinwSet('PascalVOC', _VOC, in_13=True),
    'Raccoon': OdinwSet(
        'Raccoon/Raccoon.v2-raw.coco', ('raccoon',), in_13=True
    ),
    'ShellfishOpenImages': OdinwSet(
        'ShellfishOpenImages/raw', _listed('Crab, Lobster, Shrimp'), in_13=True
    ),
    'ThermalCheetah': OdinwSet('ThermalCheetah', _listed('cheetah, human')),
    'UnoCards': OdinwSet('UnoCards/raw', tuple(map(str, range(15))), 'minival'),
    'VehiclesOpenImages': OdinwSet(
        'VehiclesOpenImages/416x416',
        _listed('Ambulance, Bus, Car, Motorcycle, Truck'),
        'minival',
        in_13=True,
    ),
    'WildfireSmoke': OdinwSet('WildfireSmoke', ('smoke',)),
    'boggleBoards': OdinwSet(
        'boggleBoards/416x416AutoOrient/export',
        _listed(
            'Q, a, an, b, c, d, e, er, f, g, h, he, i, in, j, k, l, m, n, o,'
            ' o , p, q, qu, r, s, t, t\\, th, u, v, w, wild, x, y, z'
        ),
        is_export=True,
    ),
    'brackishUnderwater': OdinwSet(
        'brackishUnderwater/960x540',
        _listed('crab, fish, jellyfish, shrimp, small_fish, starfish'),
        'minival',
    ),
    'dice': OdinwSet(
        'dice/mediumColor/export', _listed('1, 2, 3, 4, 5, 6'), is_export=True
    ),
    'openPoetryVision': OdinwSet('openPoetryVision/512x512', _FONTS, 'minival'),
    'pistols': OdinwSet(
        'pistols/export', ('pistol',), in_13=True, is_export=True
    ),
    'plantdoc': OdinwSet('plantdoc/416x416', _LEAVES),
    'pothole': OdinwSet(
        'pothole',
        ('pothole',),
        in_13=True,
        prompt=(('there are some ', 'holes', ' on the road'),),
    ),
    'selfdrivingCar': OdinwSet(
        'selfdrivingCar/fixedLarge/export',
        _listed(
            'biker, car, pedestrian, trafficLight, trafficLight-Green,'
            ' trafficLight-GreenLeft, trafficLight-Red, trafficLight-RedLeft,'
            ' trafficLight-Yellow, trafficLight-YellowLeft, truck'
        ),
        is_export=True,
    ),
    'thermalDogsAndPeople': OdinwSet(
        'thermalDogsAndPeople', _listed('dog, person'), in_13=True
    ),
    'websiteScreenshots': OdinwSet(
        'websiteScreenshots',
        _listed('button, field, heading, iframe, image, label, link, text'),
        'minival',
    ),
}
