#include <stdbool.h>
#include <string.h>

#include "worker/stories.h"

#define LENGTH(array) (sizeof(array) / sizeof *(array))

struct person {
    const char *name, *he, *him, *his;
};

static const struct person people[] = {
        {"Anna", "she", "her", "her"},
        {"Ben", "he", "him", "his"},
        {"Clara", "she", "her", "her"},
        {"David", "he", "him", "his"},
        {"Emma", "she", "her", "her"},
        {"Felix", "he", "him", "his"},
        {"Grace", "she", "her", "her"},
        {"Henry", "he", "him", "his"},
        {"Iris", "she", "her", "her"},
        {"Jack", "he", "him", "his"},
        {"Lily", "she", "her", "her"},
        {"Max", "he", "him", "his"},
        {"Nora", "she", "her", "her"},
        {"Oscar", "he", "him", "his"},
        {"Rose", "she", "her", "her"},
        {"Tom", "he", "him", "his"},
};

static const char *const kinds[] = {"girl or boy", "fox", "bear", "rabbit", "mouse",
        "duck", "owl", "cat", "dog", "hedgehog", "frog", "pony"};
static const char *const traits[] = {
        "little", "brave", "clever", "shy", "merry", "curious", "gentle", "sleepy"};
static const char *const colours[] = {
        "red", "blue", "green", "yellow", "white", "silver", "golden", "purple"};
static const char *const things[] = {"ball", "kite", "hat", "drum", "boat", "lantern",
        "scarf", "bell", "key", "book", "basket", "whistle"};
/* Where somebody goes, and how one says that something is there. */
static const struct {
    const char *to, *at;
} places[] = {
        {"to the garden", "in the garden"},
        {"to the river", "by the river"},
        {"to the forest", "in the forest"},
        {"up the hill", "on the hill"},
        {"to the market", "at the market"},
        {"to the old barn", "in the old barn"},
        {"to the beach", "on the beach"},
        {"to the mill", "behind the mill"},
        {"to the bridge", "under the bridge"},
        {"to the meadow", "in the meadow"},
};
static const char *const weathers[] = {"The sun was shining", "It was raining softly",
        "The wind was strong", "Snow lay on the ground", "The sky was grey",
        "A warm breeze blew"};
static const struct {
    const char *loves, *did;
} hobbies[] = {
        {"to sing", "sang a song"},
        {"to dance", "danced in a circle"},
        {"to run", "ran as fast as the wind"},
        {"to read", "read a long tale aloud"},
        {"to paint", "painted a picture"},
        {"to bake", "baked a cake"},
        {"to swim", "swam from shore to shore"},
        {"to count", "counted from one to ten"},
};
static const char *const glad[] = {"happy", "glad", "proud", "full of joy"};
static const char *const sad[] = {"sad", "worried", "unhappy", "close to tears"};
static const char *const numbers[] = {"two", "three", "four", "five", "six", "seven"};

struct writer {
    uint64_t state;
    char *out;
    size_t bytes, used;
};

/* What one story keeps to. */
struct tale {
    const struct person *hero, *friend;
    const char *hero_kind, *friend_kind, *trait, *colour, *thing;
    size_t home, away, hobby;
};

/* splitmix64 (Steele, Lea, Flood 2014) */
static uint64_t next(struct writer *w) {
    uint64_t z = w->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

static size_t below(struct writer *w, size_t n) {
    return (size_t)((next(w) >> 32) * n >> 32);
}

#define PICK(w, array) ((array)[below(w, LENGTH(array))])

static bool full(const struct writer *w) {
    return w->used == w->bytes;
}

static void put(struct writer *w, const char *s) {
    size_t size = strlen(s), left = w->bytes - w->used;
    size = size < left ? size : left;
    memcpy(w->out + w->used, s, size);
    w->used += size;
}

static void put_capital(struct writer *w, const char *s) {
    char first[2] = {(char)(s[0] - 'a' + 'A'), '\0'};
    put(w, first);
    put(w, s + 1);
}

/* Write `form`, with two-letter names of what the tale knows, each after a '$'. */
static void tell(struct writer *w, const struct tale *t, const char *form) {
    for (const char *p = form; *p;) {
        const char *dollar = strchr(p, '$');
        size_t plain = dollar ? (size_t)(dollar - p) : strlen(p);
        while (plain > 0 && !full(w)) {
            w->out[w->used++] = *p++;
            plain--;
        }
        if (!dollar || full(w)) {
            return;
        }
        const struct person *who = dollar[1] == 'h' ? t->hero : t->friend;
        switch (dollar[2]) {
        case 'n':
            put(w, who->name);
            break;
        case 'e':
            put(w, who->he);
            break;
        case 'E':
            put_capital(w, who->he);
            break;
        case 'm':
            put(w, who->him);
            break;
        case 's':
            put(w, who->his);
            break;
        case 'S':
            put_capital(w, who->his);
            break;
        case 'k':
            put(w, dollar[1] == 'h' ? t->hero_kind : t->friend_kind);
            break;
        case 'c': // $tc, $tt: the thing's colour and name
            put(w, t->colour);
            break;
        case 't':
            put(w, dollar[1] == 'a' ? t->trait : t->thing);
            break;
        case 'p': // $gp: gone there; $ap: is there; $op: is at home
            put(w, dollar[1] == 'g'    ? places[t->away].to
                    : dollar[1] == 'a' ? places[t->away].at
                                       : places[t->home].at);
            break;
        default: // $lh, $dh: loves to, did
            put(w, dollar[1] == 'l' ? hobbies[t->hobby].loves : hobbies[t->hobby].did);
            break;
        }
        p = dollar + 3;
    }
}

static const char *kind_of(struct writer *w, const struct person *p) {
    size_t kind = below(w, LENGTH(kinds));
    return kind > 0 ? kinds[kind] : p->he[0] == 's' ? "girl" : "boy";
}

static void open_tale(struct writer *w, struct tale *t) {
    size_t hero = below(w, LENGTH(people));
    size_t friend = (hero + 1 + below(w, LENGTH(people) - 1)) % LENGTH(people);
    t->hero = &people[hero];
    t->friend = &people[friend];
    t->hero_kind = kind_of(w, t->hero);
    t->friend_kind = kind_of(w, t->friend);
    t->trait = PICK(w, traits);
    t->colour = PICK(w, colours);
    t->thing = PICK(w, things);
    t->home = below(w, LENGTH(places));
    t->away = (t->home + 1 + below(w, LENGTH(places) - 1)) % LENGTH(places);
    t->hobby = below(w, LENGTH(hobbies));
    static const char *const openings[] = {
            "Once upon a time there was a $at $hk named $hn. $hE lived $op. ",
            "There once lived a $at $hk called $hn. $hS house stood $op. ",
            "$hn was a $at $hk. $hE lived $op and was seldom alone. ",
    };
    tell(w, t, PICK(w, openings));
    static const char *const habits[] = {
            "$hn liked $lh, and $hs best friend was a $fk named $fn. ",
            "More than anything $hn loved $lh. $hS friend $fn, a $fk, loved it too. ",
    };
    tell(w, t, PICK(w, habits));
}

/* Something is lost and found where it was left. */
static void tell_of_loss(struct writer *w, const struct tale *t) {
    tell(w, t, "One day $hn took $hs $tc $tt and went $gp. ");
    put(w, PICK(w, weathers));
    tell(w, t, ", and $he $dh. ");
    tell(w, t, "But when $he came home, the $tt was gone! $hn was ");
    put(w, PICK(w, sad));
    tell(w, t, ". \"Have you seen my $tc $tt?\" $he asked $fn. ");
    tell(w, t, "\"No,\" said $fn, \"but I will help you.\" ");
    static const char *const searches[] = {
            "They looked $op, but it was not there. ",
            "$fn looked everywhere, and $hn looked with $fm. ",
            "\"Where did you have it last?\" asked $fn. $hn had to think. ",
    };
    tell(w, t, PICK(w, searches));
    tell(w, t, "Then they went $gp, and there, $ap, lay the $tc $tt. ");
    tell(w, t, "$hn was so ");
    put(w, PICK(w, glad));
    tell(w, t, " that $he gave $fn a hug. ");
}

/* A gift, and what it was. */
static void tell_of_gift(struct writer *w, const struct tale *t) {
    tell(w, t, "One morning $hn wanted to give $fn a present. ");
    tell(w, t, "$hE went $gp and bought a $tc $tt for ");
    put(w, PICK(w, numbers));
    tell(w, t, " coins. ");
    put(w, PICK(w, weathers));
    tell(w, t, " when $he came to $fn. \"This $tt is for you,\" said $hn. ");
    static const char *const thanks[] = {
            "\"A $tc $tt! Thank you, $hn!\" cried $fn. ",
            "$fn looked at the $tc $tt and smiled. \"Thank you, $hn,\" $fe said. ",
    };
    tell(w, t, PICK(w, thanks));
    tell(w, t, "Then they sat $op, and $fn $dh. Both were ");
    put(w, PICK(w, glad));
    tell(w, t, ". ");
}

/* Somebody calls for help and is helped. */
static void tell_of_rescue(struct writer *w, const struct tale *t) {
    tell(w, t, "One evening $hn heard a cry. It was $fn, who was stuck $ap! ");
    tell(w, t, "\"Help me, $hn!\" called $fn. $hn ran $gp as fast as $he could. ");
    static const char *const ways[] = {
            "With $hs $tc $tt $he pulled $fn out. ",
            "$hE tied a rope to $hs $tc $tt and threw it to $fm. ",
            "$hE held out $hs $tc $tt, and $fn took hold of the $tt. ",
    };
    tell(w, t, PICK(w, ways));
    tell(w, t, "\"You are the best $hk in the world,\" said $fn. $hn was ");
    put(w, PICK(w, glad));
    tell(w, t, ", and that night $he $dh for $fm. ");
}

static void close_tale(struct writer *w, const struct tale *t) {
    static const char *const endings[] = {
            "From that day on, $hn and $fn were always together.\n\n",
            "And $hn never lost sight of the $tc $tt again.\n\n",
            "And so the $hk and the $fk lived happily ever after.\n\n",
            "\"Good night, $fn,\" said $hn. \"Good night, $hn,\" said $fn.\n\n",
    };
    tell(w, t, PICK(w, endings));
}

void stories_generate(uint64_t seed, char *out, size_t bytes) {
    struct writer w = {.state = seed, .out = out, .bytes = bytes};
    while (!full(&w)) {
        struct tale t;
        open_tale(&w, &t);
        static void (*const plots[])(struct writer *, const struct tale *) = {
                tell_of_loss, tell_of_gift, tell_of_rescue};
        size_t plot = below(&w, LENGTH(plots));
        plots[plot](&w, &t);
        if (below(&w,
                    2)) { // a second adventure, of another sort and with another thing
            t.colour = PICK(&w, colours);
            t.thing = PICK(&w, things);
            plots[(plot + 1) % LENGTH(plots)](&w, &t);
        }
        close_tale(&w, &t);
    }
}
