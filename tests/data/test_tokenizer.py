"""The tokenizer against OpenAI's own code on varied texts."""

import importlib.util
import pathlib
import pickle
import random

import numpy as np
import pytest

from lightclip_ms.data.tokenizer import Tokenizer

SNIPPETS = [
    "a photo of a dog",
    "It's what they'd've said, we'll see; I'm sure you're right, can't you?",
    "JUST IN CAPITALS",
    "3.14159 and 1,000,000 or 2024-01-31",
    "café naïve façade Zürich Łódź",
    "Привет, мир",
    "你好，世界",
    "こんにちは世界",
    "مرحبا بالعالم",
    "שלום",
    "नमस्ते दुनिया",
    "한국어 문장",
    "ไทย",
    "𝔘𝔫𝔦𝔠𝔬𝔡𝔢",
    "ﬁne ﬂow",
    "🐶",
    "👩‍👩‍👧‍👦 family",
    "🇩🇪🏳️‍🌈",
    "❤️",
    "&lt;b&gt;bold&lt;/b&gt;",
    "AT&amp;T",
    "&amp;amp;quot;twice&amp;amp;quot;",
    "&#128512; &#x1F600; &nbsp;",
    "&notanentity;",
    "&",
    "a&b",
    "tabs\tand\nnewlines\r\n",
    "  many    spaces  ",
    "\u00a0nbsp\u2003em\u200bzero",
    "\ufeffbom",
    "control\x00\x07\x1b[31mred\x1b[0m",
    "\x85",
    "schÃ¶n",
    "â€œquotedâ€\x9d",
    "“curly” ‘quotes’ — dash…",
    "ＦＵＬＬｗｉｄｔｈ",
    "İstanbul ŞIİ",
    "ſ 'ſ ß ẞ",
    "Ⅷ ½ ² ١٢٣",
    "\ud800 lone",
    "e\u0301 combining",
    "<|startoftext|> in <|EndOfText|> text",
    "<|mask|>",
    "http://www.example.com/a_b-c?d=e#f",
    "user@example.org",
    "#hashtag @name",
    "!!!???...",
    "a",
    "",
    " ",
    "'",
    "'s",
    "''re''",
    "o'clock 'Tis rock'n'roll",
    "snake_case camelCase",
    "C++ / C# \\ | ~ ` ^ $ % *",
    "x" * 300,
    "1" * 120,
    "!" * 90,
    "antidisestablishmentarianism pneumonoultramicroscopicsilicovolcanoconiosis",
    "\u0130\u0307",
    "ͅΣΑΣ ΣΊΣΥΦΟΣ",
    "\U0001f9d1\U0001f3ff\u200d\U0001f4bb",
]


def varied_texts(count: int) -> list[str]:
    """Snippets alone, mixed, drawn from all of Unicode, and texts of 500 words."""
    rng = random.Random(0)
    texts = list(SNIPPETS)
    while len(texts) < count - 20:
        kind = rng.randrange(4)
        if kind == 0:
            texts.append(rng.choice(["", " ", ", ", "\n"]).join(rng.sample(SNIPPETS, rng.randint(2, 6))))
        elif kind == 1:
            texts.append(
                "".join(
                    chr(rng.choice([rng.randrange(32, 127), rng.randrange(0xD800), rng.randrange(0xE000, 0x3FFFF)]))
                    for _ in range(rng.randint(1, 40))
                )
            )
        elif kind == 2:
            texts.append(
                "".join(
                    rng.choice("abcdefghijklmnopqrstuvwxyzABCXYZ '’-.,!?&;#0123456789\t")
                    for _ in range(rng.randint(1, 120))
                )
            )
        else:
            text = rng.choice(SNIPPETS)
            cut = rng.randint(0, len(text))
            texts.append(text[cut:].title() + text[:cut].upper())
    words = " ".join(SNIPPETS).split()
    return texts + [" ".join(rng.choices(words, k=500)) for _ in range(20)]


@pytest.fixture(scope="module")
def oracle():
    # Loaded from its file: the package's __init__ would import torch.
    folder = importlib.util.find_spec("clip").submodule_search_locations[0]
    spec = importlib.util.spec_from_file_location("openai_tokenizer", pathlib.Path(folder, "simple_tokenizer.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.SimpleTokenizer()


def test_ids_equal_openai(oracle):
    texts = varied_texts(2500)
    tokenizer = Tokenizer()
    assert len(set(texts)) >= 2000
    for text in texts:
        assert tokenizer.encode(text) == oracle.encode(text), repr(text)


def test_batch_layout(oracle):
    texts = ["a dog", "", "word " * 500]
    ids = Tokenizer()(texts)
    assert ids.dtype == np.int32 and ids.shape == (3, 77)
    expected = np.zeros((3, 77), np.int32)
    for row, text in zip(expected, texts):
        pieces = [49406, *oracle.encode(text)][:76] + [49407]
        row[: len(pieces)] = pieces
    np.testing.assert_array_equal(ids, expected)
    np.testing.assert_array_equal(Tokenizer(context_length=8)("a dog"), ids[:1, :8])


def test_smaller_vocabulary_is_the_oracle_with_fewer_merges(oracle):
    small = Tokenizer(context_length=32, vocab_size=8192)
    reference = type(oracle)()
    reference.bpe_ranks = {pair: rank for pair, rank in oracle.bpe_ranks.items() if rank < 8192 - 514}
    for text in varied_texts(400):
        expected = [i if i < 49406 else i - 49408 + 8192 for i in reference.encode(text)]
        assert small.encode(text) == expected, repr(text)
    assert (small.sot_id, small.eot_id, small.mask_id) == (8190, 8191, 8192)
    assert max(small.encode("<|endoftext|> zebra")) < small.mask_id


def test_decode_returns_the_words():
    tokenizer = Tokenizer()
    ids = tokenizer("A café, naïve &amp; 你好 🐶")[0]
    assert tokenizer.decode(ids) == "a café , naïve & 你好 🐶"
    ids[2] = tokenizer.mask_id
    assert tokenizer.decode(ids).startswith("a <|mask|> ,")


def test_a_pickled_copy_gives_the_same_ids():
    tokenizer = Tokenizer(context_length=24, vocab_size=2048)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(tokenizer))(SNIPPETS), tokenizer(SNIPPETS))


@pytest.mark.parametrize("arguments", [{"vocab_size": 513}, {"vocab_size": 49409}, {"context_length": 2}])
def test_impossible_sizes(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        Tokenizer(**arguments)


def test_not_a_text():
    with pytest.raises(ValueError, match="bytes"):
        Tokenizer()([b"a dog"])
