"""The decision: a fingerprint, a machine and a budget become a `Plan`, by pure rules. No torch, no files."""

from medseg.plan.cost import forward_gflop, step_gflop
from medseg.plan.plan import Correction, Plan, Schedule
from medseg.plan.rules import DeviceFacts, make_plan
from medseg.plan.topology import Topology, topology

__all__ = [
    "Correction",
    "DeviceFacts",
    "Plan",
    "Schedule",
    "Topology",
    "forward_gflop",
    "make_plan",
    "step_gflop",
    "topology",
]
