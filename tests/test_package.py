"""What a package index and an installer are told: the README without dead links, and bounds of dependencies."""

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")
LINK = re.compile(r"\]\((?!https?://)[^)]*\)")


def on_an_index():
    """The README as the build makes it for a package index."""
    hook = PROJECT["tool"]["hatch"]["metadata"]["hooks"]["fancy-pypi-readme"]
    text = "".join(
        (ROOT / part["path"]).read_text(encoding="utf-8") if "path" in part else part["text"]
        for part in hook["fragments"]
    )
    for each in hook["substitutions"]:
        text = re.sub(each["pattern"], each["replacement"], text)
    return text


def test_on_a_package_index_no_link_leads_into_the_repository():
    assert LINK.search(README), "in the repository they are links"
    shown = on_an_index()
    assert not LINK.search(shown)
    assert "![" not in shown
    assert "docs/data.md" in shown
    assert "https://pytorch.org/get-started/locally/" in shown


def test_what_the_readme_names_beside_itself_is_in_the_source_distribution():
    included = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)\)", README):
        assert any(
            target.startswith(entry.strip("/")) or (entry == "/*.md" and "/" not in target) for entry in included
        )


def test_bounds_keep_out_what_is_known_to_be_wrong():
    bounds = {re.match(r"[\w-]+", each)[0]: each for each in PROJECT["project"]["dependencies"]}
    assert bounds["torch"] == "torch>=2.8,!=2.9.*"
    constraints = (ROOT / "constraints.txt").read_text(encoding="utf-8").lower()
    assert all(re.search(rf"^{name.lower()}==", constraints, re.MULTILINE) for name in bounds)


def test_the_install_section_names_the_index_of_processors_and_the_version_of_the_wheel():
    section = README.split("## Install", 1)[1].split("\n## ", 1)[0]
    assert "https://download.pytorch.org/whl/cpu" in section
    version = re.search(r'__version__ = "(.+)"', (ROOT / "medseg/_version.py").read_text(encoding="utf-8"))[1]
    assert f"medseg-{version}-py3-none-any.whl" in section
