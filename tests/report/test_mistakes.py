import numpy as np
import pytest

from alexnet_zoo.intervals import wilson
from alexnet_zoo.report.mistakes import confusion_figure, confusion_of, wrong_figure, wrong_guesses
from alexnet_zoo.study.measures import Predictions


def predictions(labels, first, confidence) -> Predictions:
    parts = np.array([round(1e4 * share) for share in confidence], np.uint16)
    return Predictions(np.array(labels), np.array(first), parts, np.zeros((len(labels), 0), np.uint16))


def test_confusion_counts_first_guesses():
    found = confusion_of(predictions([0, 0, 0, 2, 2], [0, 1, 1, 2, 2], [0.9] * 5), ["cat", "dog", "n01440764"])
    assert found.counts.tolist() == [[1, 2, 0], [0, 0, 0], [0, 0, 2]]
    assert found.errors[[0, 2]] == pytest.approx([200 / 3, 0]) and found.worst().tolist() == [0, 2]  # no image of a dog


def test_confusion_is_drawn_worst_class_first_with_its_interval():
    found = confusion_of(predictions([0] * 10 + [1] * 20, [0] * 8 + [1] * 12 + [0] * 10, [0.9] * 30), ["cat", "dog"])
    matrix, bars = confusion_figure(found).axes
    assert [text.get_text() for text in matrix.get_yticklabels()] == ["dog", "cat"]
    assert [text.get_text() for text in matrix.texts] == ["50", "50", "20", "80"]
    assert [text.get_text() for text in bars.texts] == ["n = 20", "n = 10"]
    assert bars.lines[0].get_xdata() == pytest.approx(wilson(50, 20)) and bars.lines[1].get_xdata() == [50]


def test_wrong_guesses_are_the_most_confident(digits):
    test = digits.split("test")
    first, confidence = test.labels.copy(), np.linspace(0.5, 0.6, len(test))
    for image, share in ((7, 0.9), (30, 0.99), (11, 0.8)):
        first[image], confidence[image] = (test.labels[image] + 1) % 10, share
    found = wrong_guesses(predictions(test.labels, first, confidence), test)
    assert (found.wrong, found.images) == (3, len(test))
    assert found.right == [test.classes[test.labels[image]] for image in (30, 7, 11)]
    assert found.confidence == pytest.approx([0.99, 0.9, 0.8], abs=1e-3)
    np.testing.assert_array_equal(found.pictures[0], test.gather([30], [0], [0], test.image_size)[0].numpy())
    titles = [axes.get_title() for axes in wrong_figure(found).axes if axes.get_title()]
    assert titles[0] == f"{found.guessed[0]}, 99%\nis {found.right[0]}" and len(titles) == 3
    assert wrong_guesses(predictions(test.labels, test.labels, confidence), test) is None
    assert wrong_guesses(predictions(test.labels[:5], first[:5], confidence[:5]), test) is None  # other images
