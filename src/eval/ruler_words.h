/* ruler_words.h - the adjectives and nouns of RULER's keys ("quiet-river"). */
#ifndef QK_EVAL_RULER_WORDS_H
#define QK_EVAL_RULER_WORDS_H

/* One blank between words: so many that no two keys of a case are often the same. */
#define QK_RULER_ADJECTIVES                                                                                  \
    "able acidic active afraid agile alert alive amber ample ancient angry arid aware awful azure basic "    \
    "better bitter black blank bold brave brief bright brisk broad bronze brown busy calm careful cheap "    \
    "chilly civil classic clean clever cloudy coarse cold common cool coral cosmic cozy crisp curious "      \
    "curly damp dark dear deep dense dim distant double dry dull dusty eager early earnest eastern easy "    \
    "elastic elder empty equal even exact faint fair famous fancy fast fertile fierce final fine firm "      \
    "flat fluffy fond formal frail free fresh frosty full funny gentle giant glad global golden good "       \
    "grand gray great green grim happy hard harsh heavy hidden high hollow honest huge humble hungry icy "   \
    "ideal idle inner jolly keen kind large late lazy lean left legal level light likely linear little "     \
    "lively local lonely long loose loud low loyal lucky lunar magic main major mellow merry mild minor "    \
    "misty modern modest moist mute narrow native near neat new noble noisy normal northern novel odd old "  \
    "open orange oval pale patient plain polite poor precise prime private proud pure purple quick quiet "   \
    "rapid rare raw ready real red regal rich rigid ripe robust rosy rough round royal rural rusty sad "     \
    "safe salty sandy scarlet secret serene sharp shiny short shy silent silky silver simple single slim "   \
    "slow small smooth snowy sober soft solar solid sour southern spare spicy stable stark steady "          \
    "steep stern still stormy strange strict strong sturdy subtle sunny sweet swift tall tame tart tender "  \
    "thick thin tidy tight tiny tough tranquil true urban urgent usual vague valid vast velvet violet "      \
    "vital vivid warm wavy weak weary western wet white whole wide wild windy wise wooden woolen worthy "    \
    "yellow young zesty"
#define QK_RULER_NOUNS                                                                                        \
    "acorn actor album alley almond anchor angle animal ankle apple apron arch arena arrow artist aspen "     \
    "atlas attic author avenue badge baker ballad bamboo banana bank banner barley barn barrel basil "        \
    "basin basket battery bay beach beacon beak beam bean bear beaver bell belt bench berry bicycle birch "   \
    "bishop blade blanket blossom board boat bonnet book boot border bottle boulder bowl box bracelet "       \
    "branch bread breeze brick bridge broom brother brush bubble bucket bud bugle bulb bunker butter "        \
    "button cabin cable cactus cake camel camera canal candle canoe canvas canyon cape captain caravan "      \
    "card cargo carpet carrot cart castle cat cattle cave cedar cellar cello chain chair chalk chamber "      \
    "chapel cherry chest chicken chief chimney choir church cinema circle circus citizen city clay cliff "    \
    "clock cloth cloud clover coach coast coat cobra coconut coffee coin collar comet compass concert cook "  \
    "copper corner cottage cotton couch cousin cradle crane crater crayon creek cricket crow crown crystal "  \
    "cup curtain cushion cyclone dagger dairy daisy dam dancer dawn deer desert desk diamond dinner dish "    \
    "doctor dolphin donkey door dove dragon drawer dream drum duck dune eagle ear earth echo edge egg elbow " \
    "elephant elm ember engine envelope evening fabric falcon family fan farm father feather fence fern "     \
    "ferry field fig film finger fire fish flag flame flask flood floor flower flute foam fog folder forest " \
    "fork fort fossil fountain fox frame friend frog fruit furnace galaxy gallery garden garlic gate geyser " \
    "ghost ginger giraffe glacier glass globe glove goat gold goose grain grape grass gravel grove guide "    \
    "guitar gulf hall hammer hammock hand harbor harp hat hawk hazel heart hedge helmet herb hero heron "     \
    "hill hinge hive honey hood hoof horn horse hotel house hut iceberg inlet insect iris iron island "       \
    "ivory ivy jacket jaguar jar jasmine jelly jewel journal judge juice jungle kayak kettle key king "       \
    "kitchen kite knee knife knight knot ladder lagoon lake lamp lane lantern lark lawn leaf lemon lens "     \
    "leopard letter library lily lime linen lion lizard lobster locket lotus lumber lute magnet mango "       \
    "mantle map maple marble market mask mast meadow medal melon mentor meteor metal mill mint mirror moat "  \
    "monk moon moose morning moss moth mother motor mountain mouse museum music nail napkin neck needle "     \
    "nest net nickel night north nurse oak oar oasis ocean olive onion orbit orchard orchid organ otter "     \
    "oven owl oyster paddle page palace palm panda panel paper parade parrot parsley pasta path peach "       \
    "peacock pear pebble pencil pepper piano picnic pigeon pillow pilot pine pipe pirate planet plate plum "  \
    "pocket poem poet pond pony poppy porch port potato prairie prince pump puppet puzzle pyramid quarry "    \
    "quartz queen quill rabbit radio raft rail rain ranch raven reef ribbon rice ridge ring river road "      \
    "robin rock rocket roof root rope rose ruby rug saddle sail salad salmon sand scarf school sea seal "     \
    "seed shadow shark sheep shelf shell shield ship shirt shoe shore shovel sister sketch sky sled smoke "   \
    "snail snow soap sock sofa song soup spark sparrow spear spice spider spoon spring squirrel stable "      \
    "star station statue steam stone storm stove stream street summer sun swan table tailor tea temple "      \
    "tent theater thistle throne thumb tiger timber toast tomato torch tower town train tree trout truck "    \
    "trumpet tulip tunnel turtle umbrella valley vase vault vessel village vine violin voyage wagon wall "    \
    "walnut water wave weaver whale wheat wheel whistle willow wind window wing winter wolf wood wool worm "  \
    "wreath yacht yard zebra"

#endif
