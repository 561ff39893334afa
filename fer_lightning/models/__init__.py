"""The networks: one file each, and what they share: `EmotionClassifier`, and the layers of `layers.py`."""

from fer_lightning.models.classifier import EmotionClassifier
from fer_lightning.models.cnn import CNN
from fer_lightning.models.dnn import DNN
from fer_lightning.models.resnet import ResNet18

__all__ = ["CNN", "DNN", "EmotionClassifier", "ResNet18"]
