"""A config, from overrides as on the command line."""

from hydra import compose, initialize_config_dir

from tut.cli.configs import register_schema
from tut.cli.hydra_versions import VERSION_BASE
from tut.config import Config
from tut.system.provenance import CONF_DIR


def make_config(*overrides: str) -> Config:
    """Compose a config from overrides."""
    register_schema()
    with initialize_config_dir(str(CONF_DIR), **VERSION_BASE):
        return Config.from_hydra(compose("config", list(overrides)))
