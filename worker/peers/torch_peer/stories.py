"""The built-in corpus: byte for byte what worker/stories.c writes.

The digest of the data in each record, and tests/torch/peer.py, hold the two together.
"""

import re

MASK = (1 << 64) - 1

SHE, HE = ("she", "her", "her"), ("he", "him", "his")
PEOPLE = [("Anna", SHE), ("Ben", HE), ("Clara", SHE), ("David", HE), ("Emma", SHE),
          ("Felix", HE), ("Grace", SHE), ("Henry", HE), ("Iris", SHE), ("Jack", HE),
          ("Lily", SHE), ("Max", HE), ("Nora", SHE), ("Oscar", HE), ("Rose", SHE),
          ("Tom", HE)]
KINDS = ["girl or boy", "fox", "bear", "rabbit", "mouse", "duck", "owl", "cat", "dog",
         "hedgehog", "frog", "pony"]
TRAITS = ["little", "brave", "clever", "shy", "merry", "curious", "gentle", "sleepy"]
COLOURS = ["red", "blue", "green", "yellow", "white", "silver", "golden", "purple"]
THINGS = ["ball", "kite", "hat", "drum", "boat", "lantern", "scarf", "bell", "key",
          "book", "basket", "whistle"]
PLACES = [("to the garden", "in the garden"), ("to the river", "by the river"),
          ("to the forest", "in the forest"), ("up the hill", "on the hill"),
          ("to the market", "at the market"), ("to the old barn", "in the old barn"),
          ("to the beach", "on the beach"), ("to the mill", "behind the mill"),
          ("to the bridge", "under the bridge"), ("to the meadow", "in the meadow")]
WEATHERS = ["The sun was shining", "It was raining softly", "The wind was strong",
            "Snow lay on the ground", "The sky was grey", "A warm breeze blew"]
HOBBIES = [("to sing", "sang a song"), ("to dance", "danced in a circle"),
           ("to run", "ran as fast as the wind"), ("to read", "read a long tale aloud"),
           ("to paint", "painted a picture"), ("to bake", "baked a cake"),
           ("to swim", "swam from shore to shore"),
           ("to count", "counted from one to ten")]
GLAD = ["happy", "glad", "proud", "full of joy"]
SAD = ["sad", "worried", "unhappy", "close to tears"]
NUMBERS = ["two", "three", "four", "five", "six", "seven"]
OPENINGS = ["Once upon a time there was a $at $hk named $hn. $hE lived $op. ",
            "There once lived a $at $hk called $hn. $hS house stood $op. ",
            "$hn was a $at $hk. $hE lived $op and was seldom alone. "]
HABITS = ["$hn liked $lh, and $hs best friend was a $fk named $fn. ",
          "More than anything $hn loved $lh. $hS friend $fn, a $fk, loved it too. "]
SEARCHES = ["They looked $op, but it was not there. ",
            "$fn looked everywhere, and $hn looked with $fm. ",
            "\"Where did you have it last?\" asked $fn. $hn had to think. "]
THANKS = ["\"A $tc $tt! Thank you, $hn!\" cried $fn. ",
          "$fn looked at the $tc $tt and smiled. \"Thank you, $hn,\" $fe said. "]
WAYS = ["With $hs $tc $tt $he pulled $fn out. ",
        "$hE tied a rope to $hs $tc $tt and threw it to $fm. ",
        "$hE held out $hs $tc $tt, and $fn took hold of the $tt. "]
ENDINGS = ["From that day on, $hn and $fn were always together.\n\n",
           "And $hn never lost sight of the $tc $tt again.\n\n",
           "And so the $hk and the $fk lived happily ever after.\n\n",
           "\"Good night, $fn,\" said $hn. \"Good night, $hn,\" said $fn.\n\n"]

forms = {}  # a form: plain text and names by turns


class Writer:
    def __init__(self, seed):
        self.state = seed
        self.pieces = []
        self.size = 0
        self.words = {}  # what the tale's two-letter names stand for

    def below(self, n):
        """splitmix64 (Steele, Lea, Flood 2014), scaled."""
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ z >> 30) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ z >> 27) * 0x94D049BB133111EB) & MASK
        return ((z ^ z >> 31) >> 32) * n >> 32

    def pick(self, choices):
        return choices[self.below(len(choices))]

    def put(self, text):
        self.pieces.append(text)
        self.size += len(text)

    def tell(self, form):
        parts = forms.get(form)
        if parts is None:
            parts = forms[form] = re.split(r"\$(..)", form)
        words = self.words
        self.put("".join([words[part] if i & 1 else part
                          for i, part in enumerate(parts)]))


def kind_of(w, person):
    kind = w.below(len(KINDS))
    return KINDS[kind] if kind else "girl" if person[1] is SHE else "boy"


def open_tale(w):
    hero = w.below(len(PEOPLE))
    friend = (hero + 1 + w.below(len(PEOPLE) - 1)) % len(PEOPLE)
    words = w.words = {}
    for letter, who in (("h", PEOPLE[hero]), ("f", PEOPLE[friend])):
        he, him, his = who[1]
        words.update({letter + "n": who[0], letter + "e": he, letter + "m": him,
                      letter + "s": his, letter + "E": he.capitalize(),
                      letter + "S": his.capitalize(), letter + "k": kind_of(w, who)})
    words["at"] = w.pick(TRAITS)
    words["tc"] = w.pick(COLOURS)
    words["tt"] = w.pick(THINGS)
    home = w.below(len(PLACES))
    away = (home + 1 + w.below(len(PLACES) - 1)) % len(PLACES)
    words["op"] = PLACES[home][1]
    words["gp"], words["ap"] = PLACES[away]
    # What the hero loves to do, and what hero and friend alike did.
    words["lh"], words["dh"] = w.pick(HOBBIES)
    w.tell(w.pick(OPENINGS))
    w.tell(w.pick(HABITS))


def tell_of_loss(w):
    w.tell("One day $hn took $hs $tc $tt and went $gp. ")
    w.put(w.pick(WEATHERS))
    w.tell(", and $he $dh. ")
    w.tell("But when $he came home, the $tt was gone! $hn was ")
    w.put(w.pick(SAD))
    w.tell(". \"Have you seen my $tc $tt?\" $he asked $fn. ")
    w.tell("\"No,\" said $fn, \"but I will help you.\" ")
    w.tell(w.pick(SEARCHES))
    w.tell("Then they went $gp, and there, $ap, lay the $tc $tt. ")
    w.tell("$hn was so ")
    w.put(w.pick(GLAD))
    w.tell(" that $he gave $fn a hug. ")


def tell_of_gift(w):
    w.tell("One morning $hn wanted to give $fn a present. ")
    w.tell("$hE went $gp and bought a $tc $tt for ")
    w.put(w.pick(NUMBERS))
    w.tell(" coins. ")
    w.put(w.pick(WEATHERS))
    w.tell(" when $he came to $fn. \"This $tt is for you,\" said $hn. ")
    w.tell(w.pick(THANKS))
    w.tell("Then they sat $op, and $fn $dh. Both were ")
    w.put(w.pick(GLAD))
    w.tell(". ")


def tell_of_rescue(w):
    w.tell("One evening $hn heard a cry. It was $fn, who was stuck $ap! ")
    w.tell("\"Help me, $hn!\" called $fn. $hn ran $gp as fast as $he could. ")
    w.tell(w.pick(WAYS))
    w.tell("\"You are the best $hk in the world,\" said $fn. $hn was ")
    w.put(w.pick(GLAD))
    w.tell(", and that night $he $dh for $fm. ")


PLOTS = [tell_of_loss, tell_of_gift, tell_of_rescue]


def generate(seed, size):
    """`size` bytes of stories."""
    w = Writer(seed & MASK)
    while w.size < size:
        open_tale(w)
        plot = w.below(len(PLOTS))
        PLOTS[plot](w)
        if w.below(2):  # a second adventure, of another sort and with another thing
            w.words["tc"] = w.pick(COLOURS)
            w.words["tt"] = w.pick(THINGS)
            PLOTS[(plot + 1) % len(PLOTS)](w)
        w.tell(w.pick(ENDINGS))
    return "".join(w.pieces).encode("ascii")[:size]
