"""The study's fully connected network: three linear layers on the flattened pixels, 5,778,439 parameters."""

from collections.abc import Sequence

from torch import Tensor, nn

from fer_lightning.data.faces import CLASSES, SIZE
from fer_lightning.models.classifier import EmotionClassifier, OptimizerFactory, SchedulerFactory
from fer_lightning.models.layers import check_rates, check_widths, linear_block


class DNN(EmotionClassifier):
    """Faces float (B, 1, 48, 48) to logits (B, 7).

    widths: outputs of fc1 and fc2. dropout: drop rates after fc1 and fc2, each in [0, 1).
    The rest: see `EmotionClassifier`. Raises ValueError for values out of range.
    """

    def __init__(
        self,
        widths: Sequence[int] = (2048, 512),
        dropout: Sequence[float] = (0.4, 0.5),
        label_smoothing: float = 0.0,
        optimizer: OptimizerFactory | None = None,
        scheduler: SchedulerFactory | None = None,
    ) -> None:
        super().__init__(label_smoothing, optimizer, scheduler)
        check_widths("widths", widths, 2)
        check_rates("dropout", dropout, 2)
        self.fc1 = linear_block(SIZE * SIZE, widths[0], dropout[0])
        self.fc2 = linear_block(widths[0], widths[1], dropout[1])
        self.fc3 = nn.Linear(widths[1], len(CLASSES))

    def forward(self, faces: Tensor) -> Tensor:
        x = faces.flatten(1)  # (B, 2304)
        return self.fc3(self.fc2(self.fc1(x)))
