"""Runs the quick tests with the lowest version that pyproject.toml allows of every dependency.

    python benchmarks/lowest_versions.py ENVIRONMENT [--torch 2.13.0] [--pip-args "--index-url ADDRESS"] [TEST ...]

An environment is made in the folder ENVIRONMENT (or used again), each direct dependency is installed at its lower
bound, and pytest runs TEST (all quick tests by default). Where only newer wheels of torch can be had, `--torch` names
one; its bound is then not tested, and this is said.
"""

import argparse
import re
import shlex
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]


def lowest(requirements):
    """Name → lower bound of requirements such as "torch>=2.8,!=2.9.*"."""
    found = {}
    for requirement in requirements:
        match = re.match(r"([A-Za-z0-9_.-]+)(?:\[[^]]*\])?.*?(?:>=|==)\s*([0-9][^,;\s]*)", requirement)
        if match:
            found[match[1]] = match[2]
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("environment", type=Path)
    parser.add_argument("--torch", help="install this torch instead of the lowest")
    parser.add_argument("--pip-args", default="")
    parser.add_argument("tests", nargs="*", default=[])
    options = parser.parse_intermixed_args()

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    bounds = lowest([*project["dependencies"], *project["optional-dependencies"]["networks"]])
    tested = dict(bounds)
    if options.torch:
        tested["torch"] = options.torch
        print(f"torch {options.torch} stands for {bounds['torch']}: that bound is not tested.")
    if not options.environment.exists():
        venv.create(options.environment, with_pip=True)
    folder = "Scripts" if sys.platform == "win32" else "bin"
    python = options.environment / folder / "python"
    pins = options.environment / "lowest.txt"
    pins.write_text("".join(f"{name}=={version}\n" for name, version in tested.items()), encoding="utf-8")
    pip = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "-q", *shlex.split(options.pip_args)]
    subprocess.run([*pip, f"torch=={tested['torch']}"], check=True)
    subprocess.run([*pip, "-r", str(pins), *project["optional-dependencies"]["test"]], check=True)
    subprocess.run([*pip, "--no-deps", "-e", str(ROOT)], check=True)
    print(" ".join(f"{name}=={version}" for name, version in tested.items()))
    # Warnings of old releases are no failures here: -W ignore comes after what pyproject.toml says.
    tests = [str(python), "-m", "pytest", "-q", "-m", "not journey", "-W", "ignore", "-p", "no:cacheprovider"]
    raise SystemExit(subprocess.run([*tests, *(options.tests or ["tests"])], cwd=ROOT, check=False).returncode)


if __name__ == "__main__":
    main()
