"""Writes the expected values of the caption metrics and of their tokenizer.

    python tests/python/make_caption_metrics.py tests/golden/data

Made with pycocoevalcap 1.2 (Stanford CoreNLP 3.4.1, METEOR 1.5) on Java 17. The captions are made up from a small
grammar, so that words, stems, synonyms, paraphrases and their order all vary. The jar runs with modules that need no
data, and with all modules and data that is made up, too.
"""
import gzip
import json
import random
import subprocess
import sys
from pathlib import Path

import pycocoevalcap
from pycocoevalcap.bleu.bleu import Bleu
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge
from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

FOLDER = Path(pycocoevalcap.__path__[0])

# Lines that go through most rules of the tokenizer.
LINES = r"""
A man's dog's 'n' rock 'n' roll; don't can't cannot gonna wanna gimme lemme
He's I'm they're we've you'll she'd THEY'RE it's its'
"quoted" 'single' ``latex'' “curly” ‘single’ don’t it’s
a (round) [square] {curly} <angle> 3/4 1/2 and/or black/white
at 3:30 p.m. on Jan. 5, 1998 in the U.S. and U.K. Dr. Smith vs. Mr. Jones St. John's
$5.00 and 50% of #1 @home A&M AT&T R&B co-ed T-shirt t-shirts two-story x-ray
www.foo.com http://foo.com/bar?x=1 me@foo.org hello...world  hello... world -- yes - no --- ok ---- five-----
1,000 3.5 -5 +7 1990s '90s 90's 5'11" 6 ft. tall 10 oz. 12th 1st 2nd
a man/woman he/she a/c w/ w/o & foo_bar C++ c# 50/50 1920x1080 3D 4-wheeler
sitting.on a dog.cat.mouse end.start A man.A woman. yes!!! what?! no?? hi!there
mother-in-law rock-n-roll 'twas o'clock y'all ma'am jack-o'-lantern o'brien d'art
naïve café résumé über Zürich 東京 emoji 😀 € £5 ¥ ¢ ½ cup ¼ 5° 10×20 © ® ™
a * b ** c ~ d ^ e | f \ g = h + i
cont'd somethin' dunkin' donuts lil' li'l ol' em' 'em it'll could've would've should've
(555) 555-1234 555-1234 555-555-1234 1-800-555-1234
-LRB- test -RRB- tv's TV's dogs' men's Jones' James's
Co. Inc. Ltd. Corp. No. 5 no. Ave. Blvd. Sgt. Prof. e.g. i.e. a.m. A.M.
&amp; &lt; &gt; &quot; &nbsp; x&amp;y
two 's n't 's 't I'd've shouldn't've
I ate 1 1/2 cups and 2½ ⅓ ⅔ ⅛ of it
plan B. The man. a B. A dog
call 555-555-1234 or (555) 555-1234 or +1 650 123 4567
smile :) ok :D :-( ;) =) (: x
(^_^) o_o -_- (--) xx
<b>bold</b> <a href="x"> 1 < 2 > 0 << >>
a/b a\b C:\foo\bar.txt file.jpg, foo.png
x@y.com <x@y.com> @foo #bar #1
half–way — dash ― bar…  . . . dots
£5 €6 ¥7 ¢8 $9 US$10 A$
Ph.D. Ed.D a.k.a. U.S.-U.K. Canada-U.S. EU-U.S non-U.S. x
rock'n'roll 'n' 'tis 'Tis 'Twas ’twas
l'eau d'Or Shi'ite B'Gosh O'Neil McDonald's
super­man soft­hyphen
tel. 5 fig. 3 no. 7 nos. 8 pp. 9 art. 4
the '90s '98 '98. in ’98
é ü ñ ç café
well-known, half-eaten. semi-
... .. .... ..... ......
!! ?? ?! !?
I'd I'll I've ain't won't shan't
he said ‘hello’ and “bye”
"Hi," she said. "$5"
''double'' ''
5th 3-D 3D 4x4 7-Eleven 24/7 9/11 12/25/2010 1-2-3
it's 5 o'clock p.m. now
mm. cm. kg. lb. lbs. oz.
A.B. C.D.s pro-life anti-war
AT&T R&B Q&A S&P-500 b&w black&white B+W
* item ** bold *** x
_under_ __init__ foo_bar
~ ^ | \ % & + ++ C++ F# c#
Mr Smith Dr Who St Ives vs them
www.google.com/x google.com x.org. http://t.co/abc.
12,345.67 .5 5. 5.. 1.2.3 1:2 1:2:3 -1 +1 --1
cause 'cause nor’easter
c'mon ma'am o'er e'er ne'er
what?No yes!No a.b.c. x.y
x . y ,z ;w :v
ｆｕｌｌ 全角 ° ± µ
dog&apos;s &quot;q&quot; &lt;x&gt; &nbsp; &eacute;t&eacute; &#39;
THE MAN'S DON'T CAN'T
gotta Gonna GIMME cannot CANNOT
Jan. Feb. Mon. Calif. Mass. Ill. ill. mass. wash. ore. pa. la. del.
etc. A man, etc. and so on, Bldg. 5
"""

# Words of a place mean nearly the same.
SUBJECTS = ["man", "woman", "person", "boy", "girl", "child", "kid", "lady", "guy", "people", "men", "children"]
LOOKS = ["young", "old", "small", "little", "large", "big", "red", "black", "happy", "beautiful", "pretty", ""]
ACTS = ["rides", "riding", "is riding", "rode", "holds", "holding", "is holding", "carries", "carrying", "looks at",
        "looking at", "is looking at", "watches", "sits on", "is sitting on", "plays with", "playing with"]
THINGS = ["bicycle", "bike", "motorcycle", "horse", "surfboard", "skateboard", "photo", "picture", "television", "tv",
          "sofa", "couch", "cell phone", "mobile phone", "car", "automobile", "plate of food", "dish", "umbrella"]
PLACES = ["in the street", "on the road", "down the road", "at the beach", "on the shore", "in a field", "in a park",
          "next to a building", "beside a house", "near the ocean", "close to the sea", "in front of a lot of people",
          "in front of many people", "while it's raining", "at 5 o'clock", "of the U.S. team", "with 2 dogs", ""]
# Data for METEOR's modules in its own format, made up: WordNet's and the real table are not ours to copy.
EXCEPTIONS = {"child": ["children"], "ride": ["rode", "ridden"], "hold": ["held"], "person": ["people"]}
SYNSETS = [["bicycle", "bike", "cycle"], ["photo", "picture"], ["picture", "film"], ["television", "tv"], ["sofa", "couch"],
           ["car", "automobile"], ["kid", "child", "youngster"], ["lady", "woman"], ["guy", "man"], ["person", "someone"],
           ["beautiful", "pretty"], ["large", "big"], ["small", "little"], ["hold", "carry"], ["look", "watch"],
           ["beach", "shore"], ["ocean", "sea"], ["building", "house"], ["plate", "dish"], ["street", "road"]]
PARAPHRASES = [("a lot of", "many"), ("in front of", "before"), ("next to", "beside"), ("close to", "near"),
               ("looking at", "watches"), ("is looking at", "watches"), ("looks at", "is looking at"),
               ("cell phone", "mobile phone"), ("plate of food", "dish"), ("in the street", "on the road"),
               ("down the road", "in the street"), ("a field", "a park"), ("playing with", "plays"),
               ("in a field", "in a park"), ("riding", "on a"), ("people", "two men"), ("on the shore", "at the beach"),
               ("at", "on"), ("is", "' s"), ("holds", "is holding"), ("is holding the", "carries a")]
ENDS = [".", "", "!", " .", "..."]


def phrase(random, subject, thing, place):
    """A caption; mostly of the given words."""
    def choose(given, words):
        return given if random.random() < 0.6 else random.choice(words)
    words = [random.choice(["A", "The", "a", "Two"]), random.choice(LOOKS), choose(subject, SUBJECTS),
             random.choice(ACTS), random.choice(["a", "the", "his", "some"]), choose(thing, THINGS),
             choose(place, PLACES)]
    if random.random() < 0.15:
        words[4:4] = ["and"]
    if random.random() < 0.1:
        random.shuffle(words)
    return " ".join(word for word in words if word) + random.choice(ENDS)


def pairs(count):
    """Captions and their references."""
    rng = random.Random(7)
    captions, references = [], []
    for _ in range(count):
        meant = [rng.choice(words) for words in (SUBJECTS, THINGS, PLACES)]
        captions.append(phrase(rng, *meant))
        references.append([phrase(rng, *meant) for _ in range(rng.randint(1, 5))])
    # A perfect caption, an empty one, one without a word in common, one of repetitions, one that is a fraction.
    captions += ["A man rides a horse.", "", "zebra", "the the the the", "1 1/2 cups (of tea)"]
    references += [["A man rides a horse."], ["a dog", "two dogs"], ["a dog"], ["the dog", "the cat on the mat"],
                   ["1 1/2 cups of tea", "one and a half cups"]]
    return captions, references


def write_meteor_data(folder):
    """The files that `--meteor-data` takes."""
    folder.mkdir(exist_ok=True)
    exceptions = [line for base, forms in EXCEPTIONS.items() for line in (base, " ".join(forms))]
    (folder / "english.exceptions").write_text("\n".join(exceptions) + "\n")
    words = sorted({word for synset in SYNSETS for word in synset})
    numbers = {word: [str(number) for number, synset in enumerate(SYNSETS, 101) if word in synset] for word in words}
    synsets = [line for word in words for line in (word, " ".join(numbers[word]))]
    (folder / "english.synsets").write_text("\n".join(synsets) + "\n")
    both = PARAPHRASES + [(other, phrase) for phrase, other in PARAPHRASES[::2]]
    table = "".join(f"0.5\n{phrase}\n{other}\n" for phrase, other in both)
    (folder / "paraphrase-en.gz").write_bytes(gzip.compress(table.encode(), mtime=0))


def meteor(references, captions, *options):
    """The score of the jar with other options than pycocoevalcap's."""
    command = ["java", "-jar", "-Xmx2G", "meteor-1.5.jar", "-", "-", "-stdio", "-l", "en", "-norm", *options]
    jar = subprocess.Popen(command, cwd=FOLDER / "meteor", stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    scores = [" ||| ".join(["SCORE", *references[key], captions[key][0].replace("|||", "").replace("  ", " ")])
              for key in captions]
    statistics = []
    for line in scores:
        jar.stdin.write(line + "\n")
        jar.stdin.flush()
        statistics.append(jar.stdout.readline().strip())
    jar.stdin.write(" ||| ".join(["EVAL", *statistics]) + "\n")
    jar.stdin.flush()
    found = [float(jar.stdout.readline()) for _ in range(len(captions) + 1)][-1]
    jar.kill()
    return found


def evaluate(captions, references, data):
    """All metrics, as COCOEvalCap computes them."""
    tokenizer = PTBTokenizer()
    form = lambda texts: {key: [{"caption": text} for text in some] for key, some in enumerate(texts)}
    references = tokenizer.tokenize(form(references))
    captions = tokenizer.tokenize(form([[caption] for caption in captions]))
    bleu, _ = Bleu(4).compute_score(references, captions, verbose=0)
    metrics = {f"bleu{n + 1}": score for n, score in enumerate(bleu)}
    metrics["rouge_l"] = float(Rouge().compute_score(references, captions)[0])
    metrics["cider"] = float(Cider().compute_score(references, captions)[0])
    metrics["meteor"] = meteor(references, captions, "-m", "exact stem")
    data = ["-d", str(data), "-a", str(data / "paraphrase-en.gz")]
    return metrics, {"exact stem synonym paraphrase": meteor(references, captions, *data)}


def main():
    out = Path(sys.argv[1])
    captions, references = pairs(150)
    data = (out / "meteor").resolve()
    write_meteor_data(data)
    metrics, meteors = evaluate(captions, references, data)
    fixture = {"captions": captions, "references": references, "metrics": metrics, "meteor_with_data": meteors}
    (out / "captions.json").write_text(json.dumps(fixture, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")

    lines = LINES.strip("\n").split("\n")
    tokens = PTBTokenizer().tokenize({key: [{"caption": line}] for key, line in enumerate(lines)})
    pairs_of_lines = [text for key, line in enumerate(lines) for text in (line, tokens[key][0])]
    (out / "ptb_words.txt").write_text("\n".join(pairs_of_lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
