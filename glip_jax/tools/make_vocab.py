"""Writes the small WordPiece vocabulary that comes with the package.

`python -m glip_jax.tools.make_vocab --out=glip_jax/text/shapes_vocab.txt`

The words below, and the plurals of nouns that captions count, are whole pieces.
The pieces of other words are learned from these words by merging, each word
counted once: captions invented for the purpose would spend the merges on the
words that their templates favour. Nothing is random, so the file is the same on
every machine. Every text of ASCII letters, digits and punctuation can be
spelled: each of these characters is a piece, alone and as a continuation.
"""

import collections
import itertools
import pathlib
import re
import string
from collections.abc import Iterable, Sequence

from absl import flags

from glip_jax import configuring, storage

SPECIALS = ('[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]')

# Nouns that captions count: shapes, people and their parts, animals.
COUNTED = """
circle square triangle rectangle star cross ring diamond heart hexagon pentagon
octagon ellipse oval crescent arrow line dot bar cube sphere cylinder cone
pyramid prism polygon trapezoid parallelogram rhombus semicircle disk disc donut
plus spiral wave block shape object figure kite moon drop cloud curve corner
edge side grid row column

person man woman child boy girl baby adult kid guy lady player skier surfer
snowboarder skateboarder rider driver pedestrian cyclist worker chef doctor
nurse soldier police officer student teacher farmer singer dancer guitarist
bride groom crowd team family couple friend group hand arm leg foot head face
eye ear nose mouth tooth tongue hair beard finger thumb shoulder knee elbow neck
back chest body skin tail wing beak paw claw fur horn feather shell fin

animal dog cat bird horse sheep cow elephant bear zebra giraffe raccoon rabbit
cottontail fox wolf deer moose elk lion tiger leopard cheetah panther monkey
gorilla chimpanzee baboon kangaroo koala panda polar pig hog boar goat lamb bull
calf ox buffalo bison camel llama alpaca donkey mule pony rhinoceros
hippopotamus crocodile alligator lizard snake turtle tortoise frog toad
salamander gecko fish goldfish shark whale dolphin seal walrus otter penguin
puffin stingray jellyfish starfish octopus squid crab lobster shrimp shellfish
oyster clam mussel snail slug worm spider scorpion ant bee wasp beetle ladybug
butterfly moth dragonfly fly mosquito cockroach caterpillar duck duckling goose
swan chicken hen rooster turkey pigeon dove crow raven eagle hawk falcon owl
vulture parrot parakeet canary sparrow robin woodpecker hummingbird flamingo
pelican seagull gull heron crane stork ostrich peacock kingfisher kitten puppy
mouse rat hamster squirrel chipmunk beaver badger skunk hedgehog porcupine mole
bat sloth armadillo bulldog beagle boxer terrier spaniel retriever poodle pug
husky shepherd corgi chihuahua dalmatian siamese persian ferret dinosaur dragon
unicorn insect mammal reptile pet herd flock nest
""".split()

# Other words: colours, textures, sizes, relations, numbers, function words,
# adjectives, verbs, food, household, things, clothes, outdoors, scenes, more
# things, and the plurals that are irregular.
OTHERS = """
red green blue yellow orange purple pink brown black white gray grey cyan
magenta teal maroon navy olive lime violet indigo turquoise beige gold golden
silver bronze crimson scarlet lavender khaki tan ivory cream coral salmon amber
aqua azure charcoal peach mint mustard ruby emerald colored multicolored
colorful pale dark light bright dim vivid pastel multicoloured coloured
colourful

striped dotted plain checkered checked solid hollow filled empty outlined
spotted patterned hatched textured smooth rough shiny matte glossy blurry noisy
transparent opaque wavy zigzag metallic wooden rubber plastic glass paper stone
leather cotton woolen brick concrete furry fluffy feathered rusty dusty

small big large tiny huge medium little giant long short tall wide narrow thick
thin deep shallow high low heavy smallest biggest largest smaller bigger larger
longer shorter taller longest shortest tallest

left right above below under over between near inside outside next beside behind
front top bottom middle center centre beneath underneath around along across
through against on in at of by to from with without within into onto off up down
upper lower leftmost rightmost topmost bottommost far close closer closest
adjacent opposite touching overlapping covering surrounding facing surrounded
covered towards away beyond among toward

zero one two three four five six seven eight nine ten eleven twelve thirteen
fourteen fifteen sixteen seventeen eighteen nineteen twenty thirty forty fifty
sixty seventy eighty ninety hundred thousand first second third fourth fifth
last single double triple half dozen pair several many few both all some none
each every another other any most more less

a an the this that these those there here it its he she they them his her their
we our you your i my is are was were be been being am has have had do does did
not no and or but nor so if then than as while when where which who whose what
how why because also too very only just even still again together apart same
different can could will would may might must should out about after before
during for like per via

old new young clean dirty wet dry hot cold warm cool full open closed broken
soft hard round flat sharp straight curved bent crooked tilted rotated vertical
horizontal diagonal upright hanging parked lit beautiful pretty cute ugly happy
sad angry busy crowded quiet fresh ripe raw cooked baked fried grilled sliced
whole chopped frozen sweet sour spicy fast slow strong weak rich poor free real
fake modern ancient antique electric electronic digital portable public private
wild domestic male female human natural artificial grassy sandy rocky snowy
rainy sunny cloudy foggy muddy stuffed potted folded stacked framed painted
printed decorated visible hidden partial occluded blank main rear bare blond
blonde bald bearded military medical industrial commercial

sit sits sitting stand stands standing lie lies lying walk walks walking run
runs running ride rides riding hold holds holding wear wears wearing carry
carries carrying eat eats eating drink drinks drinking look looks looking watch
watches watching play plays playing jump jumps jumping flies flying swim swims
swimming sleep sleeps sleeping drive drives driving throw throws throwing catch
catches catching hit hits hitting kick kicks kicking pull pulls pulling push
pushes pushing cut cuts cutting cook cooks cooking read reads reading write
writes writing talk talks talking smile smiles smiling laugh laughing wait waits
waiting work works working use uses using make makes making show shows showing
shown take takes taking taken put puts putting go goes going come comes coming
get gets getting give gives giving see sees seeing seen find finds finding found
hang hangs lean leans leaning rest rests resting fill contain contains
containing touch touches overlap overlaps cover covers surround surrounds faces
point points pointing move moves moving turn turns turning hide hides hiding
climb climbs climbing fall falls falling float floats floating land lands
landing park parks parking made set detect detection count locate describe draw
drawn paint

food fruit vegetable apple banana lemon grape strawberry blueberry raspberry
blackberry cherry pear plum apricot mango pineapple coconut kiwi papaya melon
watermelon cantaloupe avocado tomato potato carrot broccoli cauliflower cabbage
lettuce spinach celery cucumber zucchini eggplant pepper onion garlic ginger
mushroom corn pea bean pumpkin radish turnip beet asparagus artichoke leek
pickle sandwich burger hamburger hotdog pizza pasta spaghetti noodle rice bread
bun bagel toast baguette croissant pretzel muffin cupcake cake pie cookie
cracker biscuit brownie doughnut pancake waffle crepe cereal egg omelet bacon
ham sausage steak meat beef pork meatball salad soup stew cheese butter yogurt
milk sugar salt honey jam syrup sauce ketchup mayonnaise vinegar oil chocolate
candy lollipop popsicle pudding juice coffee tea wine beer soda water cocktail
smoothie milkshake sushi taco burrito tortilla nacho fries chip popcorn almond
peanut walnut nut raisin chanterelle snack meal breakfast lunch dinner dessert
slice piece

chair couch sofa bed table desk bench stool armchair recliner ottoman cabinet
cupboard drawer dresser wardrobe shelf bookcase rack mirror lamp lightbulb
chandelier candle candlestick curtain blind carpet rug mat pillow cushion
blanket quilt sheet towel mattress cradle crib toilet sink bathtub shower faucet
tap soap shampoo toothbrush toothpaste toothpick brush comb hairbrush razor
sponge mop broom dustpan bucket basket bin trash garbage box crate carton
package parcel bag sack jar bottle flask jug pitcher mug cup saucer wineglass
goblet teacup teapot kettle pot pan skillet wok bowl plate dish tray platter
fork knife spoon ladle spatula whisk chopstick straw napkin tablecloth placemat
coaster corkscrew opener grater peeler colander strainer thermos cooler oven
stove microwave toaster blender mixer refrigerator fridge freezer dishwasher
washer dryer drier iron vacuum heater radiator fan conditioner thermostat clock
alarm vase flowerpot plant picture painting poster frame calendar statue
figurine ornament ribbon bow wreath door doorknob doormat window windowsill wall
floor ceiling roof stair step ladder fireplace chimney hinge knob handle
handrail latch lock padlock key hook hanger nail screw

book notebook magazine newspaper envelope letter stamp card postcard map pen
pencil crayon marker eraser sharpener ruler scissors tape glue stapler clip
paperclip folder binder backpack handbag purse wallet suitcase briefcase luggage
tote umbrella parasol cane crutch wheelchair stroller laptop computer monitor
keyboard mousepad printer scanner router phone telephone cellphone cellular
smartphone tablet remote control television tv radio speaker headphone earphone
headset microphone camera lens tripod projector screen battery charger cable
cord plug socket outlet switch button calculator console joystick gamepad
controller hammer screwdriver wrench pliers saw axe hatchet drill shovel spade
rake hoe wheelbarrow hose sprinkler chisel crowbar clamp vise toolbox bolt gear
wheel spring chain rope string wire pipe tube valve pump tank barrel drum
thermometer syringe bandage pill stethoscope microscope telescope binoculars
magnifier magnet compass globe flag banner sign signboard billboard streetlight
lamppost lantern flashlight torch lighter match matchbox cigarette cigar ashtray
ball balloon doll puppet teddy toy puzzle dice die domino chess chessboard pawn
king queen bishop knight rook board yoyo frisbee racket paddle glove mitt helmet
hardhat goggles mask ski snowboard skateboard surfboard skate sled rollerblade
trampoline swing slide seesaw dumbbell barbell treadmill volleyball basketball
football baseball softball tennis golf hockey soccer cricket bowling pool cue
net goal puck trophy medal guitar violin piano flute trumpet trombone saxophone
clarinet harmonica harp cello banjo xylophone drumstick tambourine accordion gun
pistol rifle sword shield spear dagger cannon bullet bomb anchor coin money
dollar cash register ticket receipt barcode basin blood cell platelet bacteria
leaf leaflet scab blight rust mildew pothole crack drone robot antenna satellite
rocket solar panel wbc rbc uno jack ace club

shirt tee sweater sweatshirt hoodie jacket coat raincoat parka vest suit tuxedo
dress gown skirt blouse jeans pants trousers shorts legging tights sock shoe
sneaker boot sandal slipper heel flip flop hat cap beanie bonnet beret sombrero
hood scarf shawl tie necktie bowtie belt buckle apron uniform costume robe
kimono pajamas swimsuit wetsuit bikini bra underwear diaper bib handkerchief
bandanna headband headscarf turban veil crown tiara earring necklace bracelet
brooch pendant wristband wristlet wig glasses sunglasses spectacles eyeglass
mitten cuff collar sleeve pocket zipper jersey cloak cape

car truck bus van taxi cab ambulance train locomotive tram trolley subway
motorcycle motorbike scooter moped bicycle bike tricycle unicycle tractor
trailer bulldozer excavator forklift jeep limousine minivan pickup wagon cart
carriage airplane plane aircraft jet helicopter glider parachute blimp boat ship
yacht canoe kayak raft ferry sailboat tugboat submarine gondola dinghy jetski
dock lift pier buoy oar vehicle seat tire windshield bumper headlight taillight
engine exhaust license steering pedal saddle street road highway sidewalk
crosswalk curb traffic stop hydrant meter lot space barrier pole post fence gate
railing bridge tunnel tower building house home apartment skyscraper church
temple castle school hospital hotel store shop restaurant kitchen bathroom
bedroom office room garage barn stable windmill fountain monument gravestone
tent campfire picnic playground garden yard field farm forest wood tree bush
branch trunk flower rose sunflower tulip daisy lily grass hay moss cactus fern
vine hill mountain valley cliff cave rock desert beach sand ocean sea lake river
stream pond waterfall island shore sky sun rain snow ice fog smoke wildfire fire
flame lightning storm rainbow air earth ground city town village countryside
airport station platform runway rail railroad track court stadium rink slope
birdhouse birdcage doghouse aquarium

image photo photograph view scene background foreground area part end way time
day night morning evening afternoon summer winter autumn color size kind type
thing item stack pile bunch cluster game race party birthday wedding market word
number text name logo symbol label brand mark pattern shadow reflection trick
display video world place colour

dining bath sport sports skis ping pong boxing pop decorative weapon equipment
chili extinguisher aerosol christmas bell furniture instrument jewelry machine
mailbox medicine mound motor motorboat music needle packet pottery pouch
spotlight stocking storage strap system tissue tobacco thread typewriter utensil
visor whistle bank bathrobe cowboy clothes clothing credit crumb doorbell
elevator fighter fireplug fireworks lawn laundry lipstick liquor liquid
passenger perfume pitchfork portrait radar receiver rod roller safety sewing
shopping shaver sound steamer sculpture shredder silo tapestry tinsel urinal urn
vessel vending webcam wrap alcohol appliance awning bait bamboo blazer bookmark
bouquet bubble buggy camper canister cargo casserole checkbook choker clasp
convertible cowbell cymbal dartboard detergent dispenser duct dumpster easel
filter gasmask grocery hammock handcuff hearing highchair hourglass houseboat
jean jelly kennel lampshade mallet manhole material measure metal notepad
oregano overalls pacifier paintbrush palette parasail pastry peg pendulum penny
pinecone poker rearview rib saucepan scarecrow scoreboard seahorse seashell
serving shaker shuttle skewer snowmobile sticker stirrer surgical tarp thumbtack
wiper nightstand acorn dachshund gazelle grasshopper lasagna gourd prawn custard
lemonade crisp cornbread blob tile gradient grain backdrop canvas sketch total
least exactly partly fully slightly almost

men women children people feet teeth mice geese knives leaves wolves loaves
shelves scarves lives calves halves
""".split()

# Beginnings and ends that English makes new words with.
AFFIXES = """
un re pre dis mis non over under inter anti auto semi multi micro mini super ##s
##es ##ed ##ing ##er ##ers ##est ##ly ##y ##ness ##tion ##sion ##ation ##ment
##able ##ible ##ful ##less ##ish ##ous ##al ##ic ##ive ##ity ##ism ##ist ##ant
##ent ##ance ##ence ##ory ##ward ##wise ##like ##man ##men ##fish ##bird ##berry
##board ##ball ##house ##light ##case ##book ##stick ##holder ##maker
##berries
""".split()


def main(_: Sequence[str]) -> None:
  storage.check_out('--out', flags.FLAGS.out)
  pathlib.Path(flags.FLAGS.out).write_text(
      '\n'.join(make_vocab()) + '\n', encoding='utf-8'
  )


def make_vocab(*, num_merges: int = 400) -> tuple[str, ...]:
  """Returns the pieces in the order of their ids.

  Args:
    num_merges: how many pieces are learned; those that are words or affixes
      already are not listed twice.
  """
  characters = [*string.ascii_lowercase, *string.digits, *string.punctuation]
  words = all_words()
  pieces = (
      *SPECIALS,
      *characters,
      *(f'##{character}' for character in characters),
      *words,
      *AFFIXES,
      *learn_pieces(words, num_merges=num_merges),
  )
  return tuple(dict.fromkeys(pieces))


def all_words() -> tuple[str, ...]:
  """Returns every word that is to be one piece, sorted."""
  return tuple(sorted({*COUNTED, *OTHERS, *map(pluralise, COUNTED)}))


def pluralise(noun: str) -> str:
  """Returns the regular English plural; words in -s stay as they are."""
  if re.search(r'([^aeiou]s|[aeio]s)$', noun) and not noun.endswith('ss'):
    return noun
  if re.search(r'(s|x|z|ch|sh)$', noun):
    return f'{noun}es'
  if re.search(r'[^aeiou]y$', noun):
    return f'{noun[:-1]}ies'
  return f'{noun}s'


def learn_pieces(words: Iterable[str], *, num_merges: int) -> list[str]:
  """Learns pieces by merging, again and again, the most frequent neighbours.

  This is what WordPieceTrainer of the tokenizers library does, whose choice
  between equally frequent pairs may differ from run to run; here the pair that
  comes first in the alphabet wins.

  Args:
    words: each counted once.
    num_merges: how many pairs are merged.

  Returns:
    The merged pieces, most frequent first; those that continue a word begin
    with '##'.
  """
  spelled = [
      [word[0], *(f'##{letter}' for letter in word[1:])] for word in words
  ]
  learned = []
  for _ in range(num_merges):
    pairs = collections.Counter(
        pair for pieces in spelled for pair in itertools.pairwise(pieces)
    )
    if not pairs:
      break
    pair = min(pairs, key=lambda pair: (-pairs[pair], pair))
    learned.append(_join(*pair))
    spelled = [_merge(pieces, pair) for pieces in spelled]
  return learned


def _merge(pieces: list[str], pair: tuple[str, str]) -> list[str]:
  """Joins every occurrence of the pair, from the left."""
  merged = []
  for piece in pieces:
    if merged and (merged[-1], piece) == pair:
      merged[-1] = _join(*pair)
    else:
      merged.append(piece)
  return merged


def _join(left: str, right: str) -> str:
  return left + right.removeprefix('##')


if __name__ == '__main__':
  flags.DEFINE_string('out', None, 'File to write.', required=True)
  configuring.run(main)
