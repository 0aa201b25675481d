"""The error tree: one root, and an exit code for each branch."""

import errno
import os

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
    assert {name for name in errors.__all__ if name[0].isupper()} == found


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EMFILE, errno.ENFILE, errno.EIO, errno.ESTALE, errno.ENOMEM])
def test_what_the_system_refuses_is_the_machines_with_a_way_out(number):
    refused = errors.machine_error(OSError(number, os.strerror(number), "scan.nii.gz"))
    assert isinstance(refused, errors.MachineError)
    assert str(refused).startswith("scan.nii.gz: ")
    assert str(refused).count(". ") == 1


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EISDIR, errno.ENAMETOOLONG, errno.EEXIST])
def test_a_wrong_name_is_no_fault_of_the_machine(number):
    assert errors.machine_error(OSError(number, os.strerror(number), "scan.nii.gz")) is None
