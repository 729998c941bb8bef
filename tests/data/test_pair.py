"""What counts as a caption."""

import pytest

from lightclip_ms.data.pair import clean_caption, says_nothing
from lightclip_ms.data.skipped import BadRecord

NOTHING = [
    "",
    " \t\n",
    "&nbsp;",
    "&nbsp;&nbsp; ",
    "&amp;nbsp;",
    "&#160;",
    "<br>",
    "<p></p>",
    "<img src='a.jpg' alt=\"\">",
]
NOTHING += [
    "&lt;br/&gt;",
    "<!-- a comment -->",
    "\u200b\ufeff",
    "\x00\x07",
    "\u00a0\u3000",
    "\u202e",
    "&zwj;",
    "\u3164",
]
SOMETHING = ["a", "7", "...", "🐶", "a < b > c", "<3", "&amp;", "<b>bold</b>", "&nbsp;dog", "日本", "é", "<a dog"]


@pytest.mark.parametrize("text", NOTHING)
def test_captions_that_clean_to_nothing(text):
    assert says_nothing(text)
    for raw in (text, text.encode()):
        with pytest.raises(BadRecord, match="empty caption"):
            clean_caption(raw)


@pytest.mark.parametrize("text", SOMETHING)
def test_captions_that_say_something_stay_as_they_are(text):
    assert not says_nothing(text) and clean_caption(text) == clean_caption(text.encode()) == text
