"""The page to try a network, in a real headless Chromium: it answers as Python does, and connects to nothing."""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from browser import PATIENCE, chromium
from onnx import ModelProto
from PIL import Image
from playwright.sync_api import Locator, Page

from bench.web import runtime
from fer_lightning.data.augment import Normalize
from fer_lightning.errors import UserError
from fer_lightning.models import CNN
from fer_lightning.photographs import LIMITS
from fer_lightning.photographs.detector import yunet
from fer_lightning.photographs.faces import Face, find_faces, whole
from fer_lightning.photographs.pictures import read_picture
from fer_lightning.photographs.web_page import DETECTOR, WEB, web_page
from fer_lightning.results.calibration import Calibration, at_temperature
from fer_lightning.results.checkpoint import Classifier
from fer_lightning.results.maps import grad_cam
from fer_lightning.results.onnx_file import network_to_onnx

pytestmark = pytest.mark.slow

CALIBRATION = Calibration(temperature=0.3, threshold=0.4)
ORIENTATION = 0x0112  # in EXIF
REFUSED = "https://127.0.0.1/"  # what a test asks for in vain


def test_the_detector_s_file_finds_what_the_module_finds(astronaut):
    session = onnxruntime.InferenceSession(gzip.decompress((WEB / DETECTOR).read_bytes()))
    for height, width in ((512, 512), (160, 96)):
        picture = torch.from_numpy(astronaut[:height, 100 : 100 + width].copy()).permute(2, 0, 1)[None].float()
        picture = torch.nn.functional.pad(picture, (0, -picture.shape[3] % 32))
        (cells,) = session.run(None, {"picture": picture.numpy()})
        with torch.inference_mode():
            np.testing.assert_allclose(cells, yunet()(picture).numpy(), atol=5e-3)


def test_another_onnxruntime_is_refused():
    Path("other.tgz").write_bytes(b"another one")
    with pytest.raises(UserError, match=r"other\.tgz: its SHA-256 is [0-9a-f]{64}; right: d2228df7"):
        runtime(Path("other.tgz"))


@pytest.fixture(scope="module")
def classifier(few_faces) -> Classifier:
    """Untrained, but of faces' usual range, so that it says something else of each and of its mirror image."""
    torch.manual_seed(0)
    model, normalize = (
        CNN(channels=(4, 4, 8, 8, 8), hidden=64, conv_dropout=(0,) * 5, fc_dropout=0),
        Normalize(0.5, 0.25),
    )
    with torch.no_grad():
        for _ in range(30):  # batch normalization's running means
            model(normalize(torch.from_numpy(few_faces.pixels[:64, None]) / 255))
    return Classifier(model.eval().half().float(), normalize, {})


@pytest.fixture(scope="module")
def exported(classifier) -> ModelProto:
    about = {"network": "CNN", "checkpoint": "run/best.ckpt", "made_by": "me"}
    return network_to_onnx(classifier, CALIBRATION, about, maps=True)


def test_the_file_answers_as_pytorch_does_with_maps_of_grad_cam(exported, classifier, few_faces):
    faces = few_faces.pixels[:3, None]
    probabilities, maps = onnxruntime.InferenceSession(exported.SerializeToString()).run(None, {"faces": faces})
    expected = at_temperature(classifier.probabilities(faces[:, 0]), CALIBRATION.temperature)
    assert np.abs(probabilities - expected).max() < 1e-5
    normalized = classifier.normalize(torch.from_numpy(faces) / 255)
    for c in range(7):
        expected = grad_cam(classifier.model, classifier.model.conv3, normalized, torch.full((3,), c))
        np.testing.assert_allclose(maps[:, c], expected, rtol=1e-3, atol=1e-5)
    assert (maps > 0).any((0, 2, 3)).sum() > 3


@pytest.fixture(scope="module")
def tab(exported, astronaut, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The page from disk, on a phone, with a camera that sees the astronaut.

    Whatever it asks for or complains about is a failure in the end.
    """
    folder = tmp_path_factory.mktemp("page")
    (folder / "page.html").write_text(web_page(exported, CALIBRATION, synthetic=True), encoding="utf-8")
    frame = io.BytesIO()
    Image.fromarray(astronaut).resize((640, 480)).save(frame, "JPEG")
    (folder / "camera.mjpeg").write_bytes(frame.getvalue() * 3)
    flags = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream"]
    flags.append(f"--use-file-for-fake-video-capture={folder / 'camera.mjpeg'}")
    phone = {"viewport": {"width": 390, "height": 800}, "is_mobile": True}
    with chromium(*flags) as browser, browser.new_page(**phone) as tab:
        complaints: list[str] = []
        tab.on("console", lambda message: complaints.append(message.text))
        tab.on("pageerror", lambda error: complaints.append(str(error)))
        tab.on("request", lambda asked: complaints.append(asked.url))
        tab.set_default_timeout(PATIENCE * 1000)
        tab.goto((folder / "page.html").as_uri())
        tab.get_by_text("Ready, after").wait_for()
        yield tab
        own = ("blob:null/", "file:///")
        assert [each for each in complaints if not each.startswith(own) and REFUSED not in each] == []


@pytest.fixture
def cleared(tab: Page) -> Iterator[Page]:
    yield tab
    if tab.get_by_role("button", name="Clear").is_visible():
        tab.get_by_role("button", name="Clear").click()


def shown(tab: Page, path: Path) -> Locator:
    """What the page shows of a picture, once it is answered."""
    tab.set_input_files("input", path)
    article = tab.locator("article", has=tab.get_by_role("heading", name=path.name, exact=True))
    article.locator(".answer", has_text=".").wait_for()
    return article


def seen(place: Locator) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each face its pixels, int (48, 48), and its probabilities, float (7,), as shown."""
    found = place.locator(".face").evaluate_all(
        """faces => faces.map(face => {
            const {data} = face.querySelector('.seen').getContext('2d').getImageData(0, 0, 48, 48);
            const cells = [...face.querySelectorAll('td.n')];
            return [[...data].filter((_, i) => i % 4 == 0), cells.map(cell => Number(cell.textContent))];
        })"""
    )
    return [(np.array(pixels).reshape(48, 48), np.array(numbers)) for pixels, numbers in found]


def assert_same(found: list, faces: list[Face], classifier: Classifier, levels: float) -> None:
    """levels: what the pixels differ by in the mean; where a face lies hangs on the last digits of the detector."""
    assert len(found) == len(faces)
    for (pixels, numbers), face in zip(found, faces, strict=True):
        assert np.abs(pixels - face.pixels).mean() <= levels
        expected = at_temperature(classifier.probabilities(face.variants()), CALIBRATION.temperature).mean(0)
        assert np.abs(numbers - expected).max() < 0.01


def test_it_answers_as_python_does(cleared, classifier, astronaut, hopper):
    small = Image.fromarray(astronaut).resize((256, 256))
    lying = small.transpose(Image.Transpose.ROTATE_90)
    lying.save("lying.png")
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    lying.save("exif.jpg", quality=95, exif=exif)
    group = Image.new("RGB", (600, 400), "gray")
    group.paste(small, (30, 130))
    group.paste(Image.fromarray(hopper).resize((200, 240)), (390, 20))
    group.save("group.png")
    far = Image.new("RGB", (1280, 960), "gray")  # seen at a second look
    far.paste(Image.fromarray(astronaut).resize((110, 110)), (500, 300))
    far.save("far.png")
    transparent = small.convert("RGBA")
    transparent.putalpha(150)
    transparent.save("transparent.png")
    noise = np.random.default_rng(0).normal(0, 3, astronaut.shape)  # its face is seen once it is smoothed
    dim = Image.fromarray((astronaut * 0.05 + noise).clip(0, 255).astype(np.uint8))
    dim.save("dim.png")
    for path in map(Path, ("lying.png", "exif.jpg", "group.png", "far.png", "transparent.png", "dim.png")):
        faces = find_faces(read_picture(path))
        assert_same(seen(shown(cleared, path)), faces, classifier, 0.5)
        assert len(faces) == (2 if path.name == "group.png" else 1)


def test_no_face_is_an_answer_and_may_be_a_ready_face(cleared, classifier, pictures):
    article = shown(cleared, pictures / "coffee.png")
    assert "No face found." in article.inner_text()
    assert seen(article) == []
    article.get_by_role("button", name="Treat it as a ready face").click()
    article.locator(".face").wait_for()
    assert_same(seen(article), [whole(read_picture(pictures / "coffee.png"))], classifier, 0.01)


def test_what_is_no_picture_is_named_and_the_others_are_shown(cleared, pictures):
    Path("words.jpg").write_text("no picture")
    cleared.set_input_files("input", ["words.jpg", pictures / "astronaut.png"])
    cleared.locator(".face").wait_for()
    answers = cleared.locator("article").all_inner_texts()
    assert "astronaut.png\n1 face: " in answers[0].replace("\n\n", "\n")
    assert "This browser can't read it as a picture" in answers[1]
    assert cleared.get_by_role("status").inner_text().startswith("astronaut.png: 1 face: ")


def test_the_camera_is_looked_at_until_it_is_stopped(cleared):
    cleared.get_by_role("button", name="Use the camera").click()
    live = cleared.locator("#live")
    live.get_by_text("pictures a second").wait_for()
    (face,) = seen(live)
    assert face[1].sum() == pytest.approx(1, abs=0.05)
    live.get_by_role("button", name="Take this picture").click()
    cleared.locator("article .face").wait_for()
    cleared.get_by_role("button", name="Stop the camera").click()
    assert not live.is_visible()
    assert cleared.evaluate("() => document.querySelector('video').srcObject === null")


def test_it_may_connect_to_nothing(tab):
    refused = tab.evaluate(
        """url => new Promise(resolve => {
            document.addEventListener('securitypolicyviolation', event => resolve(event.effectiveDirective));
            fetch(url).catch(() => {});
        })""",
        REFUSED,
    )
    assert refused == "connect-src"


def test_it_says_what_it_is_and_what_not(tab):
    text = tab.locator("body").inner_text()
    said = ("SYNTHETIC", "Not calibrated", "No picture leaves this machine", "CNN of run/best.ckpt", "Not for")
    for words in (*LIMITS.split("\n"), *said):
        assert words in text
    licences = tab.locator("details pre").text_content()
    for name in ("YuNet", "Microsoft Corporation", "protocolbuffers/protobuf", "Eigen", "google/XNNPACK", "abseil-cpp"):
        assert name in licences


def test_it_is_used_by_keyboard_and_fits_on_a_phone(cleared, pictures):
    cleared.get_by_role("button", name="Choose pictures").focus()
    with cleared.expect_file_chooser():
        cleared.keyboard.press("Enter")
    cleared.keyboard.press("Tab")
    assert cleared.evaluate("() => document.activeElement.textContent") == "Use the camera"
    shown(cleared, pictures / "astronaut.png")
    assert cleared.evaluate("() => document.documentElement.scrollWidth") == 390
    images = cleared.locator("article").get_by_role("img")
    names = images.evaluate_all("all => all.map(each => each.getAttribute('aria-label'))")
    assert len(names) == 3  # the picture, the face, its map
    assert all(names)
