import io

import numpy as np
import pytest
from PIL import Image

from fer_lightning.audit import search
from fer_lightning.audit.search import FLAT, KINDS, KNOWN, SAME, SHIFT, class_counts, examine, similarity, verdict
from fer_lightning.data.faces import NO_LABEL, PRIVATE, PUBLIC, SIZE, TRAINING, UNLABELLED, Faces, digest


def pictures(n: int, seed: int = 0) -> np.ndarray:
    """uint8 (n, 48, 48): random patches of 8×8 pixels under noise, no two alike."""
    rng = np.random.default_rng(seed)
    patches = np.kron(rng.normal(0, 40, (n, 6, 6)), np.ones((8, 8)))
    return np.clip(128 + patches + rng.normal(0, 6, (n, SIZE, SIZE)), 0, 255).astype(np.uint8)


def faces_of(pixels: np.ndarray, labels: object = 0, usage: object = TRAINING, source: str = "drawn") -> Faces:
    """Faces of given pixels, in the order of their rows; one label or usage stands for all."""
    n = len(pixels)
    labels, usage = np.broadcast_to(np.int8(labels), n), np.broadcast_to(np.uint8(usage), n)
    return Faces(np.ascontiguousarray(pixels), labels, usage, np.arange(n), digest(pixels), None, source, "arrays")


def jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file))


def moved(image: np.ndarray, y: int, x: int) -> np.ndarray:
    return np.pad(image, 4, "edge")[4 - y : 52 - y, 4 - x : 52 - x]


def darker(image: np.ndarray) -> np.ndarray:
    return (image * 0.6).astype(np.uint8)


def mirror(image: np.ndarray) -> np.ndarray:
    return image[:, ::-1]


def naive_groups(alike: np.ndarray) -> list[list[int]]:
    """The groups that pairs connect, from bool (N, N): which images are alike."""
    group = list(range(len(alike)))
    for i, j in np.argwhere(alike):
        group = [group[j] if name == group[i] else name for name in group]
    members = [[i for i in range(len(alike)) if group[i] == name] for name in set(group)]
    return sorted(rows for rows in members if len(rows) > 1)


def as_lists(groups) -> list[list[int]]:
    return sorted(group.tolist() for group in groups)


def test_no_fault_in_faces_that_differ():
    pixels = pictures(1500)
    pixels[1, :, 24:] = pixels[1, :, 23::-1]  # its own mirror image, and no duplicate
    found = examine(faces_of(pixels, labels=np.arange(1500) % 7, usage=np.arange(1500) % 3))
    assert [found.groups(kind) for kind in KINDS] == [[], [], []]
    assert [found.leaks(kind) for kind in KINDS] == [[], [], []]
    assert (found.links, len(found.constant), len(found.flat)) == ([], 0, 0)


def test_planted_duplicates_are_found_each_as_its_kind_and_nothing_else():
    base = pictures(1200)
    planted = [
        *(base[10], base[10], mirror(base[20]), jpeg(base[30]), darker(base[40]), moved(base[50], 1, -1)),
        *(jpeg(mirror(base[60])), base[70], darker(base[70]), mirror(base[80]), jpeg(base[80]), darker(jpeg(base[30]))),
    ]  # from position 1200 on
    found = examine(faces_of(np.concatenate([base, planted])))
    assert as_lists(found.groups("identical")) == [[10, 1200, 1201], [70, 1207]]
    assert as_lists(found.groups("mirrored")) == [[20, 1202], [80, 1209]]
    near = [[30, 1203, 1211], [40, 1204], [50, 1205], [60, 1206], [70, 1207, 1208], [80, 1209, 1210]]
    assert as_lists(found.groups("near")) == near
    assert len(found.links) == 7
    assert [link.mirrored for link in found.links if link.first == 60] == [True]
    for group in found.groups("near"):
        links = found.links_of[int(group[0])]
        assert {image for link in links for image in link[:2]} <= set(group.tolist())
        assert all(link.first < link.second and link.similarity >= SAME for link in links)


@pytest.mark.parametrize(("y", "x"), [(0, 0), (0, -2), (2, 2), (-2, 1)])
def test_similarity_is_the_best_correlation_of_the_overlap(y, x):
    first, second = pictures(3), np.stack([moved(darker(image), y, x) for image in pictures(3)])
    expected = []
    for a, b in zip(first.astype(float), second.astype(float), strict=True):
        shifts = [(v, h) for v in range(-SHIFT, SHIFT + 1) for h in range(-SHIFT, SHIFT + 1)]
        parts = [
            (
                a[max(-v, 0) : 48 - max(v, 0), max(-h, 0) : 48 - max(h, 0)],
                b[max(v, 0) : 48 + min(v, 0), max(h, 0) : 48 + min(h, 0)],
            )
            for v, h in shifts
        ]
        expected.append(max(np.corrcoef(one.ravel(), other.ravel())[0, 1] for one, other in parts))
    np.testing.assert_allclose(similarity(first, second), expected, atol=1e-5)
    np.testing.assert_allclose(similarity(second, first), expected, atol=1e-5)
    assert min(expected) > 0.99
    assert similarity(first, first[::-1])[0] < 0.5


def test_the_order_of_the_images_and_the_blocks_they_are_compared_in_change_nothing(monkeypatch):
    base = pictures(60)
    pixels = np.concatenate([base, [darker(image) for image in base[:20]], [mirror(jpeg(i)) for i in base[10:30]]])
    expected = as_lists(examine(faces_of(pixels)).groups("near"))
    assert len(expected) == 30
    order = np.random.default_rng(2).permutation(len(pixels))
    monkeypatch.setattr(search, "ROWS", 7)
    monkeypatch.setattr(search, "COLUMNS", 11)
    monkeypatch.setattr(search, "CHECKED", 3)
    found = [sorted(order[group].tolist()) for group in examine(faces_of(pixels[order])).groups("near")]
    assert sorted(found) == expected


def test_flat_images_are_duplicates_of_nothing_but_themselves():
    rng = np.random.default_rng(3)
    constant = np.stack([np.full((SIZE, SIZE), level, np.uint8) for level in (0, 0, 128)])
    noise = rng.integers(100, 103, (4, SIZE, SIZE)).astype(np.uint8)
    frames = np.full((4, SIZE, SIZE), 60, np.uint8)  # flat but for one edge of one pixel, which varies
    frames[:, 0] = rng.integers(0, 256, (4, SIZE))
    found = examine(faces_of(np.concatenate([constant, noise, frames])))
    assert noise.std() < FLAT < frames.std((1, 2)).min()
    assert found.constant.tolist() == [0, 1, 2]
    assert found.flat.tolist() == [3, 4, 5, 6]
    assert as_lists(found.groups("identical")) == [[0, 1]]
    assert found.groups("mirrored") == []
    assert found.groups("near") == []


def test_leaks_count_every_image_once_under_its_closest_kind():
    base = pictures(6)
    usage = [TRAINING] * 6 + [PUBLIC] * 4 + [PRIVATE] * 3 + [UNLABELLED]
    pixels = [*base, base[0], mirror(base[1]), darker(base[2]), pictures(1, 9)[0]]
    pixels += [base[0], pictures(1, 9)[0], darker(base[0]), base[3]]
    labels = np.where(np.array(usage) == UNLABELLED, NO_LABEL, 0)
    found = examine(faces_of(np.stack(pixels), labels, usage))
    public, private, both = ("PublicTest", "Training"), ("PrivateTest", "Training"), ("PrivateTest", "PublicTest")
    leaks = {kind: [(*leak.values(),) for leak in found.leaks(kind)] for kind in KINDS}
    assert leaks == {
        "identical": [(*public, 1), (*private, 1), (*both, 2), ("Unlabelled", "Training", 1)],
        "mirrored": [(*public, 1)],
        "near": [(*public, 1), (*private, 1), (*both, 1)],
    }


def test_groups_come_worst_first():
    a, b, c, d, e = pictures(5)
    pixels = np.stack([a, a, a, b, b, c, c, d, d, d, e, e])
    labels = [0, 0, 0, 1, 2, 0, 0, 3, 4, 3, 5, 5]
    usage = np.array([0, 0, 0, 0, 0, 0, PUBLIC, 0, 0, 0, 0, 0])
    found = examine(faces_of(pixels, labels, usage))
    groups = found.groups("identical")
    assert [group.tolist() for group in groups] == [[5, 6], [7, 8, 9], [3, 4], [0, 1, 2], [10, 11]]
    assert [found.spans(group) for group in groups] == [True, False, False, False, False]
    assert [found.conflicting(group) for group in groups] == [False, True, True, False, False]
    assert found.labels(groups[1]) == [3, 4]

    pixels = pictures(2)[[0, 0, 1, 1]]  # an image without a label conflicts with none
    found = examine(faces_of(pixels, [2, NO_LABEL, NO_LABEL, NO_LABEL], [0, UNLABELLED, UNLABELLED, UNLABELLED]))
    assert [found.labels(group) for group in found.groups("identical")] == [[2], []]
    assert not any(found.conflicting(group) for group in found.groups("identical"))


def test_counts_are_held_against_the_known_ones():
    labels = np.repeat(np.arange(7), KNOWN[PUBLIC])
    faces = faces_of(np.zeros((len(labels), SIZE, SIZE), np.uint8), labels, PUBLIC)
    counts = class_counts(faces, PUBLIC)
    assert counts == (467, 56, 496, 895, 653, 415, 607)
    assert verdict(counts, PUBLIC) == "match"
    assert verdict(counts, PRIVATE) == "differ"
    assert verdict(class_counts(faces, TRAINING), TRAINING) == "missing"
    assert verdict((958, 111, 1024, 1774, 1247, 831, 1233), PRIVATE) == "both test splits"
    assert [sum(known) for known in KNOWN.values()] == [28709, 3589, 3589]


@pytest.mark.slow
def test_the_truth_about_the_real_rows(real_faces):
    assert verdict(class_counts(real_faces, TRAINING), TRAINING) == "match"
    assert verdict(class_counts(real_faces, PUBLIC), PUBLIC) == "match"
    assert verdict(class_counts(real_faces, PRIVATE), PRIVATE) == "missing"
    training, public = real_faces.where(TRAINING), real_faces.where(PUBLIC)
    assert np.isin(real_faces.digests[public], real_faces.digests[training]).sum() == 280
    constant = np.ptp(real_faces.pixels, axis=(1, 2)) == 0
    assert (constant[training].sum(), constant[public].sum()) == (11, 1)
    # The search itself among a quarter of the rows, since its time grows with the square (`audit` takes 15 s for all,
    # and finds what docs/results.md says): every eighth of Training and all of PublicTest.
    some = np.append(training[::8], public)
    found = examine(faces_of(real_faces.pixels[some], real_faces.labels[some], real_faces.usage[some]))
    assert found.constant.tolist() == np.flatnonzero(constant[some]).tolist()
    copies = np.isin(real_faces.digests[public], real_faces.digests[training[::8]]).sum()
    assert found.leaks("identical") == [{"split": "PublicTest", "within": "Training", "images": copies}]
    identical = found.groups("identical")
    assert sum(map(len, identical)) - len(identical) == len(some) - len(np.unique(real_faces.digests[some]))
    # rounding on another CPU may move a pair across the threshold
    assert len(found.groups("near")) == pytest.approx(97, abs=2)
    assert found.leaks("near")[0]["images"] == pytest.approx(55, abs=2)


def test_near_groups_agree_with_comparing_all_pairs_one_by_one():
    rng = np.random.default_rng(1)
    base = pictures(8)[rng.integers(0, 8, 40)]  # five copies of each or so, under noise that takes some below SAME
    strength = rng.uniform(0, 14, (40, 1, 1))
    pixels = np.clip(base + rng.normal(0, 1, base.shape) * strength, 0, 255).astype(np.uint8)
    ones, others = (axis.ravel() for axis in np.indices((40, 40)))
    alike = (similarity(pixels[ones], pixels[others]) >= SAME).reshape(40, 40)
    found = as_lists(examine(faces_of(pixels)).groups("near"))
    assert found == naive_groups(alike)
    assert len(found) > 5
    assert sum(map(len, found)) < 40
