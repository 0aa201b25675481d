"""A user id without an account: libraries that ask for its name get one, and nobody else's is touched."""

import getpass
import os
import subprocess
import sys
from pathlib import Path

import pytest

from medseg.core.account import give_account_a_name

NAMES = ("LOGNAME", "USER", "LNAME", "USERNAME")
STRANGER = 54321
"""A number that no account of a test machine has."""


def test_an_account_that_has_a_name_keeps_it(monkeypatch):
    monkeypatch.setenv("LOGNAME", "ada")
    before = dict(os.environ)
    give_account_a_name()
    assert dict(os.environ) == before
    assert getpass.getuser() == "ada"


def test_where_nobody_has_a_name_there_is_one_afterwards(monkeypatch):
    pwd = pytest.importorskip("pwd")
    for name in NAMES:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(KeyError):
        pwd.getpwuid(STRANGER)
    monkeypatch.setattr(os, "getuid", lambda: STRANGER)
    with pytest.raises((KeyError, OSError)):
        getpass.getuser()
    give_account_a_name()
    assert getpass.getuser() == "nobody"


LOADED = f"""
import os
os.getuid = lambda: {STRANGER}
for name in {NAMES}:
    os.environ.pop(name, None)
import medseg.train.loaders
import medseg.nn
from medseg.config.network import NetworkSpec
medseg.nn.build(NetworkSpec(name="basicunet", dimensions=2, in_channels=1, n_classes=2, features=(4, 4, 6, 6, 8),
                            kernels=((3, 3),) * 5, strides=((1, 1), *((2, 2),) * 4)))
print("loaded")
"""


@pytest.mark.skipif(os.name != "posix", reason="accounts of Windows have names")
def test_training_is_loaded_for_a_user_without_an_account(tmp_path):
    program = tmp_path / "program.py"
    program.write_text(LOADED)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run([sys.executable, str(program)], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout == "loaded\n", done.stderr
