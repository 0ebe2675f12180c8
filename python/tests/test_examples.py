"""The examples that help shows."""

import doctest

import fcdd

def test_examples(workplace):
    examples = [test for test in doctest.DocTestFinder().find(fcdd, module=False) if test.examples]
    assert {"fcdd", "fcdd.Error", "fcdd.Detector.load", "fcdd.Detector.detect", "fcdd.train", "fcdd.evaluate"} <= {test.name for test in examples}
    runner = doctest.DocTestRunner()
    for example in examples:
        runner.run(example)
    assert runner.failures == 0
