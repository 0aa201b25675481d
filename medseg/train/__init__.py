"""The race: from a data set to a model. `medseg.train(...)` is the verb as a call; `run` the same as events.

The module itself can be called, since the room has the name of its verb (decision 0007); what it needs is imported
then. MONAI is among it, which is why the account has a name before.
"""

import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

from medseg.core.account import give_account_a_name

if TYPE_CHECKING:
    from medseg.train.api import Run, train

__all__ = ["Run", "train"]


def __getattr__(name: str) -> Any:  # noqa: ANN401  each name has its own type, declared above
    if name in __all__:
        from medseg.train import api

        return getattr(api, name)
    raise AttributeError(f"module 'medseg.train' has no attribute '{name}'")


class _Callable(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> "Run":  # noqa: ANN401  as `api.train`
        from medseg.train.api import train

        return train(*arguments, **options)


give_account_a_name()
sys.modules[__name__].__class__ = _Callable
