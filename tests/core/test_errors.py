"""The error tree: one root, and an exit code for each branch."""

import pytest

from medseg.core import errors


@pytest.mark.parametrize(
    ("error", "exit_code"),
    [
        (errors.UsageError, 2),
        (errors.InputError, 3),
        (errors.ModelError, 3),
        (errors.PlanError, 3),
        (errors.MachineError, 4),
    ],
)
def test_each_branch_ends_a_command_with_its_exit_code(error, exit_code):
    assert error.exit_code == exit_code
    assert issubclass(error, errors.MedsegError)


def test_models_and_plans_that_do_not_fit_are_errors_of_the_input():
    assert issubclass(errors.ModelError, errors.InputError)
    assert issubclass(errors.PlanError, errors.InputError)
    assert issubclass(errors.AmbiguousError, errors.InputError)


def test_the_root_itself_is_a_defect():
    assert errors.MedsegError.exit_code == 70


def test_every_error_is_public():
    found = {name for name, thing in vars(errors).items() if isinstance(thing, type) and issubclass(thing, Exception)}
    assert set(errors.__all__) == found
