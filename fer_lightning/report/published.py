"""What the reproduced study reports, and what others reach on FER2013. Facts, none of them measured here."""

PARAMS = {"cnn": 5_758_791, "dnn": 5_778_439}

ACCURACIES = {  # (network, key of metrics.json or column of metrics.csv); normalization and augmentation both on
    ("cnn", "val_acc"): "0.69–0.70",
    ("cnn", "test_public_acc"): "0.719",
    ("cnn", "test_private_acc"): "0.707",
    ("dnn", "val_acc"): "0.425–0.435",
    ("dnn", "train_acc"): "0.42–0.43",
}
ONSETS = {"cnn": "near epoch 250", "dnn": "not said"}
SAME_EPOCH = "at the same epoch the CNN is far more accurate"
SECONDS = "the DNN trains faster per epoch"
AUGMENTED = "the DNN cannot cope with augmented images"
TOO_STRONG = "too strong a setting stops the training loss from falling"
CONFUSIONS = (
    "fear and sad are recognized worst and confused with each other; then fear/surprise and sad/neutral. Two errors "
    "are shown, fear taken for sad and sad taken for fear, both faces with hands at the cheeks"
)

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
SPEED_WORDS = {"norm": "fastest", "none": "second", "norm_aug": "slowest"}
ACCURACY_WORDS = {"norm_aug": "highest", "norm": "second", "none": "lowest"}

WORST_CLASSES = ("fear", "sad")
PAIRS = (("fear", "sad"), ("fear", "surprise"), ("sad", "neutral"))

OTHERS = (  # system, PrivateTest accuracy, how
    ("humans", "65 ± 5 %", ""),
    ("2013 competition winner", "71.16 %", ""),
    ("the study (CNN)", "70.66 %", "its private half; 71.91 % on its public half; 5.76 M parameters"),
    (
        "other public solutions of the same assignment",
        "65.3–70.1 %",
        "single CNN; DNN 36.6–49.3 %; 0.4–24 M parameters",
    ),
    ("fer-loopai VGG", "72.6 %", "4.69 M parameters; best epoch picked on the private half"),
    ("usef-kh/fer VGGNet", "73.28 %", "29.9 M parameters, 10-crop; selection and test splits swapped"),
    ("LetheSec ResNet18", "73.70 %", "mixup, label smoothing, 10-crop; best epoch picked on the private half"),
    ("Residual Masking Network", "74.14 %", "142.9 M parameters, ImageNet weights, 224 px"),
    ("8-CNN ensemble, no other data", "75.2 %", ""),
    ("EmoNeXt-XLarge", "76.12 %", "ImageNet-22k weights"),
    ("RMN ensemble of 7", "76.82 %", "ImageNet weights"),
)
