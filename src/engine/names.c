/* Names of containers: their form, and ones made up for those who give none. */
#include "engine/engine_priv.h"

#include <ctype.h>
#include <sys/random.h>

static const char *const adjectives[] = {
    "amber",  "ample",  "brisk",   "bright", "calm",   "candid", "clever", "crisp", "deft",  "eager",
    "early",  "fair",   "fleet",   "fresh",  "gentle", "glad",   "golden", "grand", "hardy", "honest",
    "humble", "jolly",  "keen",    "kind",   "lively", "lucid",  "mellow", "merry", "mild",  "neat",
    "nimble", "noble",  "patient", "plain",  "proud",  "quick",  "quiet",  "rapid", "ready", "robust",
    "rosy",   "silent", "silver",  "simple", "steady", "strong", "sunny",  "swift", "tidy",  "tranquil",
    "trusty", "vivid",  "warm",    "wise",   "witty",
};

static const char *const nouns[] = {
    "anchor", "badger", "barge",  "beacon", "birch",   "brook",   "canal",  "cedar",   "comet",   "crane",
    "dale",   "delta",  "dune",   "falcon", "fern",    "finch",   "fjord",  "forge",   "fox",     "glade",
    "grove",  "harbor", "heron",  "hollow", "island",  "kestrel", "lagoon", "lantern", "larch",   "lark",
    "marsh",  "meadow", "mill",   "oak",    "orchard", "otter",   "pebble", "pine",    "plover",  "quarry",
    "raven",  "reef",   "ridge",  "river",  "robin",   "sparrow", "spring", "summit",  "thicket", "tide",
    "trout",  "valley", "willow", "wren",   "yarrow",
};

int names__check(const char *name, struct err *err)
{
    static const char allowed[] = "[a-zA-Z0-9][a-zA-Z0-9_.-]";
    bool good = isalnum((unsigned char)*name) && name[1];
    for (const char *c = name; good && *c; c++)
        good = isalnum((unsigned char)*c) || strchr("_.-", *c);
    if (!good)
        return err_set(err, ERR_INVALID, "Invalid container name (%.200s), only %s are allowed", name,
                       allowed);
    if (strlen(name) > 255)
        return err_set(err, ERR_INVALID, "Invalid container name (%.40s...): longer than 255 bytes", name);
    return 0;
}

char *names__random(unsigned attempt)
{
    uint32_t dice[3] = {0};
    ssize_t n _unused_ = getrandom(dice, sizeof(dice), 0);
    const char *first = adjectives[dice[0] % ARRAY_SIZE(adjectives)];
    const char *second = nouns[dice[1] % ARRAY_SIZE(nouns)];
    if (attempt < 2)
        return str_printf("%s_%s", first, second);
    return str_printf("%s_%s%u", first, second, dice[2] % (attempt < 6 ? 100 : 1000000));
}

char *engine_random_name(unsigned attempt)
{
    return names__random(attempt);
}
