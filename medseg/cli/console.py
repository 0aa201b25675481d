"""The console of rich, to which text is text: names from outside cannot steer the terminal. Loaded when it is used."""

from typing import Any

from rich.console import Console
from rich.text import Text

from medseg.core.escapes import for_terminal

__all__ = ["PlainConsole"]


class PlainConsole(Console):
    """A console without markup that spells out control characters in all it is given, cells of tables included."""

    def __init__(self, **options: Any) -> None:  # noqa: ANN401  rich's own, passed on
        super().__init__(markup=False, **options)

    def render_str(self, text: str, **options: Any) -> Text:  # noqa: ANN401  rich's own, passed on
        return super().render_str(for_terminal(text), **options)
