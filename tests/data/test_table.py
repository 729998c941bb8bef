"""The table reader: quotes, encodings and separators as the web has them, counted with their lines."""

import csv

import numpy as np
import pytest

from lightclip_ms.data.pairs import open_pairs
from lightclip_ms.data.skipped import BadRecord, SkipReport
from lightclip_ms.data.table import NOT_UTF8, SEVERAL_LINES, STRAY_QUOTE, WRONG_WIDTH, Table
from lightclip_ms.eval.sets.captioned import open_captions


def read(path, data: bytes, separator=""):
    """(captions, counts, notes) of a table with pictures that exist."""
    path.write_bytes(data)
    report = SkipReport()
    rows = list(Table(str(path), "filepath", "title", separator).rows(report))
    return [row.caption for row in rows], dict(report.counts), dict(report.notes)


@pytest.mark.parametrize(
    "rows, captions, notes",
    [
        ('0.jpg\t"tall man\n1.jpg\ta dog\n2.jpg\ta cat', ["tall man", "a dog", "a cat"], {STRAY_QUOTE: 1}),
        ('0.jpg\t"tall man\n1.jpg\ta dog\n2.jpg\tvinyl 12"', ["tall man", "a dog", 'vinyl 12"'], {STRAY_QUOTE: 1}),
        ('0.jpg\t"tall man\n1.jpg\tvinyl 12"', ["tall man", 'vinyl 12"'], {STRAY_QUOTE: 1}),
        ('0.jpg\t5" nails\n1.jpg\tsays "hi"', ['5" nails', 'says "hi"'], {}),
        ('0.jpg\t"two\nlines ""q"""\n1.jpg\ta', ['two\nlines "q"', "a"], {}),
        ('0.jpg\t"a tab\there\nand\tthere"\n1.jpg\ta', ["a tab\there\nand\tthere", "a"], {SEVERAL_LINES: 1}),
        ('0.jpg\t"quoted"\r\n1.jpg\t""\r\n', ["quoted", ""], {}),
        ('0.jpg\t"never, closed', ["never, closed"], {STRAY_QUOTE: 1}),
        ("0.jpg\t" + "x" * 300_000, ["x" * 300_000], {}),
        ('0.jpg\t"' + "x" * 300_000 + '"', ["x" * 300_000], {}),
    ],
)
def test_a_quote_is_one_only_if_it_closes_its_field_in_its_record(tmp_path, rows, captions, notes):
    found = read(tmp_path / "t.tsv", f"filepath\ttitle\n{rows}\n".encode())
    assert found == (captions, {}, notes)


def test_the_title_may_come_first_and_other_columns_after(tmp_path):
    data = 'title\tfilepath\n"tall man\t0.jpg\na dog\t1.jpg\nvinyl 12"\t2.jpg\n"two\nlines"\t3.jpg\n'
    captions, counts, notes = read(tmp_path / "t.tsv", data.encode())
    assert captions == ["tall man", "a dog", 'vinyl 12"', "two\nlines"] and not counts and notes == {STRAY_QUOTE: 1}
    data = 'filepath,title,n\n0.jpg,"tall man,1\n1.jpg,a dog,2\n2.jpg,vinyl 12",3\n3.jpg,"two\nlines",4\n'
    captions, counts, notes = read(tmp_path / "t.csv", data.encode())
    assert captions == ["tall man", "a dog", 'vinyl 12"', "two\nlines"] and not counts and notes == {STRAY_QUOTE: 1}


def test_a_line_with_stray_quotes_keeps_its_fields(tmp_path):
    data = 'filepath\ttitle\tnote\n0.jpg\t"tall man\t12" vinyl\n1.jpg\t"tall man\tx\n2.jpg\t"a" b\t"c\n'
    captions, counts, notes = read(tmp_path / "t.tsv", data.encode())
    assert captions == ["tall man", "tall man", "a b"] and not counts and notes == {STRAY_QUOTE: 3}
    data = 'filepath,title,note\n0.jpg,"a, b"\n'  # a field is missing, and the quotes are sound
    assert read(tmp_path / "t.csv", data.encode()) == ([], {WRONG_WIDTH: 1}, {})


def test_encodings_and_widths_are_counted_by_line(tmp_path, caplog):
    data = b"\xef\xbb\xbffilepath,title\n0.jpg,caf\xe9\n1.jpg,a dog, on a sofa\n\n2.jpg\n3.jpg,fine\n"
    captions, counts, notes = read(tmp_path / "t.csv", data)
    assert captions == ["caf\udce9", "fine"] and counts == {WRONG_WIDTH: 2} and notes == {NOT_UTF8: 1}
    assert "t.csv: line 2" in caplog.text and "t.csv: line 3 (3 for 2 columns)" in caplog.text
    assert "t.csv: line 5 (1 for 2 columns)" in caplog.text
    for encoding in ("utf-16", "utf-16-le", "utf-32"):
        (tmp_path / "t.csv").write_bytes("\ufefffilepath,title\n0.jpg,a\n".encode(encoding))
        with pytest.raises(ValueError, match="iconv"):
            Table(str(tmp_path / "t.csv"), "filepath", "title")


@pytest.mark.parametrize("spelled, separator", [("\\t", "\t"), ("\t", "\t"), ("|", "|"), (";", ";"), ("§", "§")])
def test_separators(tmp_path, spelled, separator):
    data = f"filepath{separator}title\n0.jpg{separator}a dog, on a sofa\n".encode()
    assert read(tmp_path / "t.csv", data, spelled) == (["a dog, on a sofa"], {}, {})


def test_what_is_no_usable_table(tmp_path):
    path = tmp_path / "t.csv"
    for data, separator, message in (
        (b"filepath,title\n", "ab", "separator 'ab'.*one character"),
        (b"filepath,title\n", '"', "one character"),
        (b"filepath;title\n", "", "no column 'filepath'; found filepath;title.*';' as the separator"),
        (b"filepath,title,title\n", "", "2 columns are called 'title'"),
    ):
        path.write_bytes(data)
        with pytest.raises(ValueError, match=message):
            Table(str(path), "filepath", "title", separator)
    with pytest.raises(ValueError, match="not a regular file"):
        Table(str(tmp_path), "filepath", "title")


WORDS = ["dog", '"quote"', "comma, here", "new\nline", "tab\tx", "'s", "ünï 🐶", '12"', '""', "x, y\nz, w", "b\r\nx"]


def test_tables_that_a_csv_library_wrote_are_read_as_it_reads_them(tmp_path):
    rng = np.random.default_rng(0)
    for number in range(300):
        columns = (["filepath", "title"], ["title", "filepath"], ["n", "filepath", "title", "m"])[number % 3]
        delimiter, path = (",", "\t", ";")[number // 3 % 3], tmp_path / "t.csv"
        rows = [
            {
                "filepath": f"{row}.jpg",
                "title": " ".join(rng.choice(WORDS, rng.integers(1, 5))),
                "n": row,
                "m": "5",
            }
            for row in range(rng.integers(1, 8))
        ]
        with open(path, "w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(
                file, columns, delimiter=delimiter, lineterminator=("\n", "\r\n")[number % 2], extrasaction="ignore"
            )
            table.writeheader()
            table.writerows(rows)
        table, report = Table(str(path), "filepath", "title", delimiter), SkipReport()
        found = list(table.rows(report))
        assert [(row.image, row.caption) for row in found] == [(row["filepath"], row["title"]) for row in rows]
        assert [table.read(row.start) for row in found] == [(row.image, row.caption) for row in found]
        assert not report.counts and STRAY_QUOTE not in report.notes


def test_training_and_evaluation_read_the_same(tmp_path):
    for number in range(8):
        (tmp_path / f"{number}.jpg").write_bytes(b"picture")
    data = (
        b'\xef\xbb\xbffilepath|title\n0.jpg|"tall man\n1.jpg|caf\xe9\n2.jpg|a|b\n3.jpg|&nbsp;\n4.jpg|<br/> \n'
        b"5.jpg|" + b"x" * 200_000 + b'\n6.jpg|vinyl 12"\n7.jpg|\n'
    )
    (tmp_path / "t.csv").write_bytes(data)
    path = str(tmp_path / "t.csv")
    train, val = open_pairs(path, separator="|"), open_captions(path, separator="|")
    captions, empty = [], 0
    for index in range(len(train)):
        try:
            captions.append(train.read(index).caption)
        except BadRecord as error:
            assert error.reason == "empty caption"
            empty += 1
    assert captions == val.captions == ["tall man", "caf\ufffd", "x" * 8192, 'vinyl 12"']
    assert train.report.counts == {WRONG_WIDTH: 1} and val.report.counts == {
        WRONG_WIDTH: 1,
        "empty caption": empty == 3 and 3,
    }
    assert train.report.notes == val.report.notes == {STRAY_QUOTE: 1, NOT_UTF8: 1}
