"""What every verb does as a command, before and around its own work."""

from typing import Any

from typer.core import TyperCommand

from medseg.cli.options import SHARED_NAMES
from medseg.cli.screen import Stopped
from medseg.core.errors import UsageError

__all__ = ["Command"]


class Command(TyperCommand):
    """A verb that refuses an option given twice where only one value counts, and says a word when it is interrupted."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # noqa: ANN401  click's own context
        _, _, order = self.make_parser(ctx).parse_args(args=list(args))
        seen = set()
        for parameter in order:
            takes_one = getattr(parameter, "opts", ()) and not any(
                getattr(parameter, each, False) for each in ("multiple", "count", "is_flag")
            )
            if takes_one and parameter.param_type_name == "option" and parameter.name in seen:
                raise UsageError(f"{max(parameter.opts, key=len)} was given twice and takes one value: give it once.")
            seen.add(parameter.name)
        return super().parse_args(ctx, args)

    def format_options(self, ctx: Any, formatter: Any) -> None:  # noqa: ANN401  click's own
        """Write the arguments, the verb's own options, and those of all verbs."""
        groups: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": [], "Options of all verbs": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is not None:
                groups[_group(parameter)].append(record)
        for title, records in groups.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401  click's own context, and whatever the command returns
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Typer would end with the same code, and without a word.
            raise Stopped("Stopped.", 130) from None


def _group(parameter: Any) -> str:  # noqa: ANN401  click's own
    if parameter.param_type_name == "argument":
        return "Arguments"
    return "Options of all verbs" if parameter.name in SHARED_NAMES else "Options"
