"""One configuration schema for demo, local, cluster and Databricks."""

from udfs.config.load import ConfigError, load_config, resolved_json
from udfs.config.schema import Config

__all__ = ["Config", "ConfigError", "load_config", "resolved_json"]
