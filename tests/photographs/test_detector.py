"""The detector beside the file that its weights are from."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from fer_lightning.photographs.detector import LANDMARKS, OVERLAP, STRIDES, distinct, yunet

ORIGINAL = Path(__file__).with_name("face_detection_yunet_2023mar.onnx")  # OpenCV Zoo's, see NOTICE


@pytest.fixture(scope="module")
def original() -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(ORIGINAL)


def decoded(outputs: dict[str, np.ndarray], side: int) -> np.ndarray:
    """float (cells, 15) of the original's outputs, as OpenCV's FaceDetectorYN computes it."""
    levels = []
    for stride in STRIDES:
        cells = np.stack(np.meshgrid(*[np.arange(side // stride)] * 2), -1).reshape(-1, 2)
        score = np.sqrt(outputs[f"cls_{stride}"] * outputs[f"obj_{stride}"])[0]
        centre = (cells + outputs[f"bbox_{stride}"][0, :, :2]) * stride
        size = np.exp(outputs[f"bbox_{stride}"][0, :, 2:]) * stride
        points = [(cells + outputs[f"kps_{stride}"][0, :, 2 * k : 2 * k + 2]) * stride for k in range(LANDMARKS)]
        levels.append(np.concatenate([score, centre - size / 2, size, *points], 1))
    return np.concatenate(levels)


def test_it_computes_what_the_original_does(original: onnxruntime.InferenceSession, astronaut: np.ndarray) -> None:
    picture = np.zeros((640, 640, 3), np.float32)  # the original's only size
    picture[:512, :512] = astronaut
    blue_first = np.ascontiguousarray(picture[None, :, :, ::-1].transpose(0, 3, 1, 2))
    names = [output.name for output in original.get_outputs()]
    theirs = decoded(dict(zip(names, original.run(None, {"input": blue_first}), strict=True)), 640)
    with torch.inference_mode():
        ours = yunet()(torch.from_numpy(picture).permute(2, 0, 1)[None])[0].numpy()
    assert theirs[:, 0].max() > 0.9
    assert np.abs(ours[:, 0] - theirs[:, 0]).max() < 1e-3
    sure = theirs[:, 0] > 0.1
    assert np.abs(ours[sure, 0] - theirs[sure, 0]).max() < 1e-5
    assert np.abs(ours[sure] - theirs[sure]).max() < 1e-3  # pixels


def test_of_overlapping_faces_the_surest_is_kept() -> None:
    faces = torch.zeros(4, 15)
    faces[:, 0] = torch.tensor([0.7, 0.9, 0.8, 0.95])
    boxes = [[0, 0, 10, 10], [1, 0, 10, 10], [8, 8, 10, 10], [50, 50, 5, 5]]
    faces[:, 1:5] = torch.tensor(boxes, dtype=torch.float32)
    assert distinct(faces)[:, 0].tolist() == pytest.approx([0.95, 0.9, 0.8])
    faces[1, 1] = 10 * (1 - OVERLAP) / (1 + OVERLAP) + 0.01  # shares just less than OVERLAP with the first
    assert len(distinct(faces)) == 4
    assert distinct(faces[:0]).shape == (0, 15)
