"""The documents' examples in Python run."""

import functools
import re
from pathlib import Path

import pytest

import fcdd
from conftest import SMALL

ROOT = Path(__file__).parents[2]


def examples(document):
    return re.findall(r"```python\n(.*?)```", (ROOT / document).read_text(), flags=re.S)


@pytest.mark.parametrize("document", ["docs/guide.md", "python/README.md", "README.md"])
def test_examples_run(document, workplace, monkeypatch, capsys):
    if document == "README.md":  # which trains it
        (workplace / "run").unlink()
    monkeypatch.setattr(fcdd, "train", functools.partial(fcdd.train, **SMALL))
    assert examples(document)
    for example in examples(document):
        exec(compile(example, document, "exec"), {})
    assert re.search(r"\d\.\d+ (good|anomalous)", capsys.readouterr().out)
