"""Work side by side gives the same results as one after the other, and a process that dies is a sentence."""

import os

import pytest

from medseg.core.errors import InputError, MachineError
from medseg.core.workers import side_by_side


def squared(number):
    return number * number


def dying(_):
    os._exit(9)


def refusing(number):
    raise InputError(f"{number} is no use.")


def test_results_are_those_of_one_process():
    assert sorted(side_by_side(squared, range(7), 2)) == list(side_by_side(squared, range(7), 1))


def test_nothing_is_taken_ahead_of_need_in_one_process():
    assert next(side_by_side(squared, iter(int, 1), 1)) == 0


def test_an_error_of_the_work_comes_back_as_it_is():
    with pytest.raises(InputError, match="is no use"):
        list(side_by_side(refusing, range(3), 2))


def test_a_process_that_dies_is_a_sentence():
    with pytest.raises(MachineError, match="A process that squared was ended by the system.*fewer than 2 jobs"):
        list(side_by_side(dying, range(3), 2, "squared"))
