"""Small networks for tests."""

from typing import Any

from medseg.config.network import NetworkSpec


def spec(dimensions: int = 2, features: tuple[int, ...] = (4, 6, 8), **options: Any) -> NetworkSpec:
    """A network of few features; kernels 3 and strides 2 unless `options` say otherwise."""
    stages = len(features)
    defaults = {
        "in_channels": 1,
        "n_classes": 3,
        "kernels": ((3,) * dimensions,) * stages,
        "strides": ((1,) * dimensions, *((2,) * dimensions,) * (stages - 1)),
    }
    return NetworkSpec(dimensions=dimensions, features=features, **(defaults | options))
