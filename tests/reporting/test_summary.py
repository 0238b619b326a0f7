import io

from rich.console import Console

from darkroom.baselines import guessed
from darkroom.metrics.scores import Scores
from darkroom.reporting import summary

VALUES = {
    "accuracy": 0.75,
    "accuracy_majority": 0.5,
    "recall": 0.7,
    "precision_noise": 0.125,
    "recall_noise": 0.25,
    "f1_noise": 0.375,
    "precision_[b]": 0.875,
    "recall_[b]": 0.625,
    "f1_[b]": 0.8125,
}


def printed(values):
    console = Console(width=120, file=io.StringIO())
    summary.print_scores(console, Scores(values, references=guessed(values)), "a title")
    return console.file.getvalue()


def cells(text):
    rows = [[cell.strip() for cell in line.strip("│").split("│")] for line in text.splitlines() if line.startswith("│")]
    return {row[0]: row[1:] for row in rows}


def test_classes_have_a_table_of_their_own():
    text = printed(VALUES)
    assert cells(text) == {
        "accuracy": ["0.75", "0.5"],
        "recall": ["0.7", ""],  # and not beside it, as if noise were the baseline, the recall of a class of that name
        "noise": ["0.125", "0.25", "0.375"],
        "[b]": ["0.875", "0.625", "0.8125"],
    }
    assert "nothing was scored" in text
    assert "class by class" not in printed({"accuracy": 1.0, "precision_oracle": 0.5, "recall_oracle": 0.5})
