import os
import pickle

import pytest
import torch

from medseg.core.errors import MachineError, ModelError
from medseg.train.checkpoint import Checkpoint, load_checkpoint, save_checkpoint


def checkpoint(n=2):
    weights = torch.nn.Conv2d(1, n, 3)
    optimizer = torch.optim.AdamW(weights.parameters())
    weights(torch.ones(1, 1, 4, 4)).sum().backward()
    optimizer.step()
    state = dict(weights.state_dict())
    return Checkpoint(7, 12.5, 10.0, state, state, optimizer.state_dict(), {}, ((5, 9),))


def test_a_checkpoint_comes_back_bit_by_bit(tmp_path):
    saved = checkpoint()
    save_checkpoint(tmp_path / "last.pt", saved)
    back = load_checkpoint(tmp_path / "last.pt")
    assert (back.step, back.elapsed_s, back.training_s, back.corrections) == (7, 12.5, 10.0, ((5, 9),))
    assert all(torch.equal(back.network[name], saved.network[name]) for name in saved.network)
    assert torch.equal(back.optimizer["state"][0]["exp_avg"], saved.optimizer["state"][0]["exp_avg"])


@pytest.mark.parametrize("damage", ["cut", "text", "empty"])
def test_a_damaged_checkpoint_is_named(tmp_path, damage):
    path = tmp_path / "last.pt"
    save_checkpoint(path, checkpoint())
    content = {"cut": path.read_bytes()[:-500], "text": b"hello", "empty": b""}[damage]
    path.write_bytes(content)
    with pytest.raises(ModelError, match="last.pt is no"):
        load_checkpoint(path)


def test_a_checkpoint_cannot_run_code(tmp_path):
    class Trap:
        def __reduce__(self):
            return (pytest.fail, ("code from a file has run",))

    (tmp_path / "last.pt").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(ModelError, match="no readable checkpoint"):
        load_checkpoint(tmp_path / "last.pt")


def test_another_file_of_torch_is_no_checkpoint(tmp_path):
    torch.save({"weights": torch.ones(2)}, tmp_path / "last.pt")
    with pytest.raises(ModelError, match="not a checkpoint of this version"):
        load_checkpoint(tmp_path / "last.pt")


@pytest.mark.skipif(os.name != "posix", reason="needs the file size limit of POSIX")
@pytest.mark.parametrize("limit", [0, 100, 1500, 10_000, 20_000])
def test_a_disk_that_is_full_at_a_checkpoint_is_the_machines_and_keeps_the_one_before(tmp_path, limit):
    import resource

    path = tmp_path / "last.pt"
    save_checkpoint(path, saved := checkpoint(n=500))
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        with pytest.raises(MachineError, match=r"disk is full: .*last\.pt"):
            save_checkpoint(path, saved)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


@pytest.mark.parametrize(
    "change",
    [
        lambda content: content.pop("ema"),
        lambda content: content.update(step=-1),
        lambda content: content.update(step="7"),
        lambda content: content.update(elapsed_s=float("nan")),
        lambda content: content.update(network=[1, 2]),
        lambda content: content.update(network={"weight": 1}),
        lambda content: content.update(corrections=[[5]]),
        lambda content: content.update(corrections=7),
        lambda content: content.update(stranger=0),
    ],
)
def test_a_checkpoint_with_other_content_is_refused_by_name(tmp_path, change):
    path = tmp_path / "last.pt"
    save_checkpoint(path, checkpoint())
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)
    with pytest.raises(ModelError, match=r"last\.pt is not the checkpoint of a training"):
        load_checkpoint(path)
