"""What decides a run: the configuration, its files and the named models. Loads no MindSpore."""

from lightclip_ms.config.schema import AugmentConfig, Config, DataConfig, LossConfig, ModelConfig, TrainConfig

__all__ = ["AugmentConfig", "Config", "DataConfig", "LossConfig", "ModelConfig", "TrainConfig"]
