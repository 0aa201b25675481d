"""A template of a room above, filled in and set into the skeleton that all pages share.

Templates extend `base.html` and take parts from `parts.html`, which lie in `templates` beside this module with the
style and the script. Everything is escaped unless a template says `safe`, which is for markup that `charts` made.
"""

from importlib.resources import files

from medseg._version import __version__

__all__ = ["render"]


def render(package: str, name: str, /, **values: object) -> str:
    """The page, whole.

    Args:
        package: Where the template lies, as in "medseg.evaluate.report".
        name: Its file name.
        values: What goes into it; one that a template asks for and that is not there is an error.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("medseg.pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    text = files(package).joinpath(name).read_text(encoding="utf-8")
    return environment.from_string(text, globals={"version": __version__}).render(**values)
