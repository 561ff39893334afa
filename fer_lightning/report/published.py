"""What the reproduced study reports, and what others reach on FER2013. Facts, none of them measured here."""

PARAMS = {"cnn": 5_758_791, "dnn": 5_778_439}

VALIDATION = {"cnn": "0.69–0.70", "dnn": "0.425–0.435"}  # accuracies; normalization and augmentation both on
EPOCHS = 250  # the study trained for more
ONSET = 250  # of the CNN: overfitting begins near it
ONSETS = {"cnn": "near epoch 250"}
QUESTIONS = {  # what the study asks, and its answer
    "networks": (
        "Is a CNN better than a DNN of its size?",
        "At the same epoch the CNN is far more accurate; the DNN trains faster per epoch.",
    ),
    "onset": ("When does overfitting begin?", "Near epoch 250, for the CNN."),
    "ablation": (
        "What do normalization and augmentation do?",
        "Both give the highest accuracy, neither the lowest. The loss falls fastest with normalization alone, slowest "
        "with both. The DNN cannot cope with augmented images.",
    ),
    "confusions": (
        "Which expressions are confused?",
        "Fear and sad are recognized worst and taken for each other; then fear/surprise and sad/neutral.",
    ),
}

RECIPE = {  # configuration keys: values that keep to it
    "optimizer": "Adam",
    "optimizer.lr": 0.001,
    "scheduler": "constant",
    "averaging": "none",
    "data.crop": None,
    "model.label_smoothing": 0,
    "aug.mixup": 0,
    "aug.cutmix": 0,
    "aug.translate": 0.1,
    "aug.scale": [0.9, 1.1],
    "aug.shear": 10,
}
SETTINGS = {  # configuration keys: what the study says of them
    "optimizer": "Adam",
    "optimizer.lr": "0.001",
    "optimizer.weight_decay": "none named",
    "scheduler": "none named",
    "data.batch_size": "not said",
    "data.val_split": "not said",
    "trainer.max_epochs": "not said (more than 250)",
    "aug.normalize": "true",
    "aug.degrees": "rotation, degrees not said",
    "aug.translate": "0.1",
    "aug.scale": "[0.9, 1.1]",
    "aug.shear": "10",
    "aug.flip": "yes",
    "aug.contrast": "none named",
    "aug.erase": "none named",
}

AUGS = ("none", "norm", "norm_aug")  # the three settings of the study's table, which names no network
SPEED = {"norm": 1, "none": 2, "norm_aug": 3}  # rank of the speed at which the loss falls, 1 the fastest
ACCURACY = {"norm_aug": 1, "norm": 2, "none": 3}  # rank of validation accuracy, 1 the highest
DNN_ACCURACY = {"norm": 1, "norm_aug": 2, "none": 2}  # which, it says, cannot cope with augmented images

WORST_CLASSES = ("fear", "sad")
PAIRS = (("fear", "sad"), ("fear", "surprise"), ("sad", "neutral"))

OTHERS = (  # system, address, PrivateTest accuracy, how
    ("humans", "https://arxiv.org/abs/1307.0414", "65 ± 5 %", ""),
    ("2013 competition winner", "https://arxiv.org/abs/1306.0239", "71.16 %", ""),
    ("the study (CNN)", "", "70.66 %", "its private half; 71.91 % on its public half; 5.76 M parameters"),
    ("other solutions of the same assignment", "", "65.3–70.1 %", "single CNN; DNN 36.6–49.3 %; 0.4–24 M parameters"),
    (
        "fer-loopai VGG",
        "https://github.com/orientino/fer-loopai",
        "72.6 %",
        "4.69 M parameters; best epoch picked on the private half",
    ),
    (
        "usef-kh/fer VGGNet",
        "https://arxiv.org/abs/2105.03588",
        "73.28 %",
        "29.9 M parameters, 10-crop; selection and test splits swapped",
    ),
    (
        "LetheSec ResNet18",
        "https://github.com/LetheSec/Fer2013-Facial-Emotion-Recognition-Pytorch",
        "73.70 %",
        "mixup, label smoothing, 10-crop; best epoch picked on the private half",
    ),
    (
        "Residual Masking Network",
        "https://github.com/phamquiluan/ResidualMaskingNetwork",
        "74.14 %",
        "142.9 M parameters, ImageNet weights, 224 px; with six others 76.82 %",
    ),
    ("8-CNN ensemble", "https://arxiv.org/abs/1612.02903", "75.2 %", "no other data"),
    ("EmoNeXt-XLarge", "https://arxiv.org/abs/2501.08199", "76.12 %", "ImageNet-22k weights"),
)
MARKED = (  # on a picture of accuracies: the network that it is of, low, high, what
    ("dnn", 0.425, 0.435, "study: DNN, validation"),
    ("", 0.60, 0.70, "humans, private"),
    ("cnn", 0.719, 0.719, "study: CNN, public"),
    ("cnn", 0.7682, 0.7682, "highest of others, private"),
)
