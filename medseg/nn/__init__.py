"""Networks and losses: tensors in, tensors out. This room knows torch, and no file, case, label name or spacing."""

from medseg.nn.losses import SegmentationLoss
from medseg.nn.networks import build, names
from medseg.nn.summary import NetworkSummary, StageSummary, summarise
from medseg.nn.unet import UNet

__all__ = ["NetworkSummary", "SegmentationLoss", "StageSummary", "UNet", "build", "names", "summarise"]
