"""What a user may decide: the schema of a configuration, how it is loaded, and how a mistake in it is explained."""

from medseg.config.load import config_to_yaml, list_presets, load_config, preset_path
from medseg.config.network import NETWORK_NAMES, NetworkSpec
from medseg.config.schema import Config

__all__ = [
    "NETWORK_NAMES",
    "Config",
    "NetworkSpec",
    "config_to_yaml",
    "list_presets",
    "load_config",
    "preset_path",
]
