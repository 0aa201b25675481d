"""The RUN folder: where each file of a training lies, what may be started in it and what can go on.

RUN/config.yaml  plan.json  fingerprint.json  splits.json  files.json
RUN/fold_0/      history.csv  curves.png  events.jsonl  last.pt  validation/
                     cache/, prepared cases, gone when the fold has ended
RUN/cache/       prepared cases, gone when the fold has ended
RUN/model/       what prediction needs
"""

from dataclasses import dataclass
from pathlib import Path

__all__ = ["RunFolder"]


@dataclass(frozen=True)
class RunFolder:
    """The paths of one fold of one run."""

    root: Path
    fold: str
    """"0", "1", … or "all"."""

    @property
    def config(self) -> Path:
        return self.root / "config.yaml"

    @property
    def fingerprint(self) -> Path:
        return self.root / "fingerprint.json"

    @property
    def splits(self) -> Path:
        return self.root / "splits.json"

    @property
    def files(self) -> Path:
        """What the files of the data set were when the run began."""
        return self.root / "files.json"

    @property
    def lock(self) -> Path:
        """Whose the fold is, while it is being trained."""
        return self.root / f".fold_{self.fold}.lock"

    @property
    def plan(self) -> Path:
        """The plan and its schedule: what all folds of the run share."""
        return self.root / "plan.json"

    @property
    def fold_dir(self) -> Path:
        return self.root / f"fold_{self.fold}"

    @property
    def checkpoint(self) -> Path:
        return self.fold_dir / "last.pt"

    @property
    def history(self) -> Path:
        return self.fold_dir / "history.csv"

    @property
    def curves(self) -> Path:
        return self.fold_dir / "curves.png"

    @property
    def events(self) -> Path:
        return self.fold_dir / "events.jsonl"

    @property
    def validation(self) -> Path:
        return self.fold_dir / "validation"

    @property
    def cache(self) -> Path:
        return self.fold_dir / "cache"

    @property
    def model(self) -> Path:
        return self.root / "model"
