import csv
import runpy

import numpy as np
import pytest
from audit.test_search import faces_of

from fer_lightning.data.faces import PRIVATE, PUBLIC, TRAINING, USAGES, Faces
from fer_lightning.errors import UserError
from fer_lightning.evaluate.votes import CHOICES, HEADER, majority, read_votes

COLUMNS = dict(  # CHOICES: the columns of the public file
    zip(CHOICES, ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral", *CHOICES[7:]), strict=True)
)


def labelled(labels, usage) -> Faces:
    return faces_of(np.zeros((len(labels), 48, 48), np.uint8), labels, usage, "a.csv")


def write(path, rows):
    """rows: (Usage, {choice: votes}) each."""
    with open(path, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for usage, votes in rows:
            by_column = {COLUMNS[choice]: count for choice, count in votes.items()}
            writer.writerow([usage, "fer.png", *(by_column.get(column, 0) for column in HEADER[2:])])
    return path


@pytest.fixture
def faces():
    return labelled([0, 3, 6, 2], [TRAINING, TRAINING, PUBLIC, PRIVATE])


@pytest.fixture
def votes(tmp_path):
    rows = [
        ("Training", {"angry": 10}),
        ("Training", {"happy": 4, "contempt": 4, "surprise": 2}),
        ("PublicTest", {"neutral": 3, "NF": 4, "sad": 3}),
        ("PrivateTest", {"fear": 5, "surprise": 5}),
    ]
    return write(tmp_path / "fer2013new.csv", rows)


def test_votes_stand_in_the_order_of_the_classes(votes, faces):
    table = read_votes(votes, faces)
    assert table.shape == (4, len(CHOICES))
    assert table[0].tolist() == [10, 0, 0, 0, 0, 0, 0, 0, 0, 0]
    second = {choice: count for choice, count in zip(CHOICES, table[1].tolist(), strict=True) if count}
    assert second == {"happy": 4, "surprise": 2, "contempt": 4}
    votes.write_bytes(b"\xef\xbb\xbf" + votes.read_bytes() + b"\r\n\r\n")  # a byte order mark, blank lines
    np.testing.assert_array_equal(read_votes(votes, faces), table)
    choice, count = majority(table)  # an emotion wins a tie, and only more votes put an image apart
    assert [CHOICES[i] for i in choice] == ["angry", "happy", "NF", "fear"]
    assert count.tolist() == [10, 4, 4, 5]
    path = write(votes, [("Training", {"NF": 10})])  # nor is it a mistake that no image has an emotion
    assert read_votes(path, labelled([0], [TRAINING])).tolist() == [[0] * 9 + [10]]


@pytest.mark.parametrize(("old", "new", "message"), [
    ("Usage,Image name", "usage,Image name", "line 1: expected the columns Usage,Image name,neutral.*'usage,"),
    ("PublicTest,", "Publictest,", "line 4, column Usage: 'Publictest', expected one of Training, PublicTest, "),
    ("0,0,0,0,10,", "0,0,0,0,11,", "line 2, column anger: '11', expected a whole number of votes from 0 to 10"),
    ("0,0,0,0,10,", "0,0,0,0,ten,", "line 2, column anger: 'ten'"),
    ("0,0,0,0,10,", "0,0,0,0,", "line 2: 11 values, expected 12"),
])  # fmt: skip
def test_what_is_wrong_in_the_file_is_told_with_its_line(votes, faces, old, new, message):
    text = votes.read_text()
    assert text.count(old) == 1
    votes.write_text(text.replace(old, new))
    with pytest.raises(UserError, match=message):
        read_votes(votes, faces)


def test_a_missing_file_and_one_that_is_no_text(tmp_path, faces):
    with pytest.raises(UserError, match=r"none\.csv: cannot be read: No such file"):
        read_votes(tmp_path / "none.csv", faces)
    (tmp_path / "picture.png").write_bytes(b"\x89PNG\xff\xfe")
    with pytest.raises(UserError, match="not UTF-8 text"):
        read_votes(tmp_path / "picture.png", faces)


def test_the_votes_must_be_on_the_same_rows_but_those_on_a_split_that_the_data_lack_are_left_out(votes, faces):
    """The public file has PrivateTest, many a copy of the data does not."""
    some = labelled([0, 3, 2], [TRAINING, TRAINING, PRIVATE])
    np.testing.assert_array_equal(read_votes(votes, some), read_votes(votes, faces)[[0, 1, 3]])
    for usage, message in (
        ([TRAINING, PUBLIC, PRIVATE], "4 rows of votes for the 3 images of a.csv"),
        ([TRAINING, TRAINING, PRIVATE, PUBLIC], "line 4, .*: PublicTest, but image 2 of a.csv is PrivateTest .2 s"),
        ([PRIVATE, PUBLIC], "line 4, column Usage: PublicTest, but image 0 of a.csv is PrivateTest .2 s"),
    ):
        with pytest.raises(UserError, match=message):
            read_votes(votes, labelled([0] * len(usage), usage))


def test_rows_in_another_order_are_noticed_by_their_labels(tmp_path):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 7, 700)
    path = write(tmp_path / "votes.csv", [("Training", {CHOICES[label]: 10}) for label in labels])
    read_votes(path, labelled(labels, [TRAINING] * 700))
    with pytest.raises(UserError, match="stand in another order"):
        read_votes(path, labelled(rng.permutation(labels), [TRAINING] * 700))


@pytest.mark.slow
def test_real_votes(shared_rows, tmp_path):
    runpy.run_path(str(shared_rows / "unpack.py"))["write_votes"](tmp_path / "fer2013new.csv")
    with open(shared_rows / "labels.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    usage = [USAGES.index(row["Usage"]) for row in rows]
    labels = np.array([int(row["emotion"]) for row in rows])
    table = read_votes(tmp_path / "fer2013new.csv", labelled(labels, usage))
    assert table[:, CHOICES.index("happy")].tolist() == [int(row["happiness"]) for row in rows]
    assert table[:, CHOICES.index("NF")].tolist() == [int(row["NF"]) for row in rows]
