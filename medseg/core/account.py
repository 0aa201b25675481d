"""The account that libraries take for granted: MONAI asks who the user is when it is imported, and fails without one.

In a container the number of a user need not have a name (`docker run --user`). Nothing of medseg needs one.
"""

import getpass
import os

__all__ = ["give_account_a_name"]


def give_account_a_name() -> None:
    """Let `getpass.getuser` find a name in this process and in those that it starts, where there is none."""
    try:
        getpass.getuser()
    except (KeyError, OSError, ImportError):  # no entry for the number; no USERNAME on Windows, whose module is missing
        os.environ["USER"] = "nobody"
