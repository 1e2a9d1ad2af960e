"""Writes the expected values of the metrics of classification, retrieval and question answering.

    python tests/python/make_eval_metrics.py tests/golden/data

Made with scikit-learn 1.9.1 and open_clip 3.3.0. The rules of VQA accuracy are those of the official evaluation code
(vqaEval.py of github.com/GT-Vision-Lab/VQA, version for Python 3), restated here; its list of contractions is every
form below that lacks one apostrophe, and somebody'd.
"""
import json
import re
import sys
from pathlib import Path

import numpy as np
import torch
from open_clip_train.train import get_clip_metrics
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

FULL = """ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've must've mustn't needn't
not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've somebody'll somebody's
someone'd someone'd've someone'll someone's something'd something'd've something'll that's there'd there'd've there're
there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've
when's where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've wouldn't
wouldn't've y'all y'all'd've y'all'll you'd you'd've you'll you're you've""".split()
CONTRACTIONS = {full[:at] + full[at + 1:]: full for full in FULL for at in range(len(full)) if full[at] == "'"}
CONTRACTIONS["somebody'd"] = "somebodyd"
NUMBERS = dict(zip("none zero one two three four five six seven eight nine ten".split(),
                   "0 0 1 2 3 4 5 6 7 8 9 10".split()))
PUNCTUATION = [";", "/", "[", "]", '"', "{", "}", "(", ")", "=", "+", "\\", "_", "-", ">", "<", "@", "`", ",", "?", "!"]
PERIOD = re.compile(r"(?!<=\d)(\.)(?!\d)")
COMMA = re.compile(r"(\d)(\,)(\d)")


def without_punctuation(text):
    """processPunctuation, with re.UNICODE (32) in the place of the count, as there."""
    out = text
    for mark in PUNCTUATION:
        if mark + " " in text or " " + mark in text or COMMA.search(text) is not None:
            out = out.replace(mark, "")
        else:
            out = out.replace(mark, " ")
    return PERIOD.sub("", out, count=int(re.UNICODE))


def without_articles(text):
    """processDigitArticle."""
    words = [NUMBERS.get(word, word) for word in text.lower().split()]
    words = [word for word in words if word not in ("a", "an", "the")]
    return " ".join(CONTRACTIONS.get(word, word) for word in words)


def normalised(answer):
    answer = answer.replace("\n", " ").replace("\t", " ").strip()
    return without_articles(without_punctuation(answer))


def accuracy(answer, truths):
    """evaluate, for one question."""
    answer = normalised(answer)
    if len(set(truths)) > 1:
        truths = [without_punctuation(truth) for truth in truths]
    scores = []
    for at in range(len(truths)):
        others = truths[:at] + truths[at + 1:]
        scores.append(min(1, float(sum(other == answer for other in others)) / 3))
    return sum(scores) / len(scores)


ANSWERS = ["The  Dog.", "two", "none", "x-ray", "x - ray", "yes, it is!", "1,000", "3.5", "a.m.", "dont know", "don't",
           "black/white", "(a) an apple", "its", "lets", "Im", "ill", "", "  ", "?", "a", "1,000 (about)", "no.1", "no. 1",
           "$5.00", "5:30", "it's", "cant't", "\tleft\nside ", "A-B C", "e.g. this", "....", "." * 40, "ten", "Ten men",
           "half-eaten", "and/or", "red;green", "a;b ;c", "don't, can't", "what?", "yes!yes", "1.000.000", "1,0 00",
           "zero one", "one-two", "\"quoted\"", "don’t", "50%", "@home", "no_way", "back`tick", "C++", "x=y", "[a]", "{b}",
           "<c>", "\\d"]


def questions():
    rng = np.random.default_rng(5)
    pool = ["red", "blue", "dark red", "no", "yes", "2", "two", "t-shirt", "t shirt", "can't", "cant", "The dog", "dog"]
    found = []
    for answer in ANSWERS + sorted(CONTRACTIONS) + FULL:
        found.append((answer, [normalised(answer)] * 4 + ["other"] * 6))
    for _ in range(150):
        some = rng.choice(pool, size=rng.integers(1, 5), replace=False)
        found.append((str(rng.choice(pool)), [str(truth) for truth in rng.choice(some, size=10)]))
    for answer, truth in [("Red.", "red"), ("red", "Red"), ("t-shirt", "t-shirt"), ("a dog", "dog"), ("two", "two")]:
        found.append((answer, [truth] * 10))
    return [{"answer": answer, "truths": truths, "normalised": normalised(answer), "accuracy": accuracy(answer, truths)}
            for answer, truths in found]


def ranking():
    rng = np.random.default_rng(3)
    classes, scores = rng.integers(0, 9, 60), rng.normal(size=(60, 11)).astype(np.float32)
    classes[:20] = 4
    scores[np.arange(0, 60, 2), classes[::2]] += 2
    images = rng.normal(size=(40, 8)).astype(np.float32)
    texts = images + 0.8 * rng.normal(size=(40, 8)).astype(np.float32)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    texts /= np.linalg.norm(texts, axis=1, keepdims=True)
    found = get_clip_metrics(torch.from_numpy(images), torch.from_numpy(texts), torch.tensor(100.0))
    metrics = {}
    for name, value in found.items():
        name = name.replace("image_to_text", "i2t").replace("text_to_image", "t2i").replace("R@", "r")
        metrics[name] = float(value)
    all_classes = np.arange(scores.shape[1])
    return {
        "classes": classes.tolist(),
        "scores": scores.tolist(),
        "classification": {
            "top1": top_k_accuracy_score(classes, scores, k=1, labels=all_classes),
            "top5": top_k_accuracy_score(classes, scores, k=5, labels=all_classes),
            "mean_per_class": balanced_accuracy_score(classes, scores.argmax(1)),
        },
        "images": images.tolist(),
        "texts": texts.tolist(),
        "retrieval": metrics,
    }


def main():
    out = Path(sys.argv[1])
    (out / "ranking.json").write_text(json.dumps(ranking()) + "\n")
    (out / "vqa.json").write_text(json.dumps(questions(), ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
