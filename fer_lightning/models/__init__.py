"""The networks: one file each. `NETWORKS` names them as `model=` and a checkpoint do."""

from fer_lightning.models.classifier import EmotionClassifier
from fer_lightning.models.cnn import CNN
from fer_lightning.models.dnn import DNN

__all__ = ["CNN", "DNN", "EmotionClassifier"]
