"""What may be typed: any path as it is, options anywhere, Hydra's documented patterns; the rest is named."""

import json
import shlex
import shutil

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from fer_lightning.errors import UserError
from fer_lightning.settings.command_line import readable

DNN = ("model=dnn", "model.widths=[64,32]", "trainer=cpu", "trainer.max_epochs=1", "data.batch_size=64", "logger=none")
NAMES = (
    *("plain", "archive (1)", "epoch=9-step=100.ckpt", "[old]/x", "{b}", "é/ü", "x#y!", "it's", 'a "b"', "~/faces"),
    *("2013", "1e5", "1_000", "true", "a%b", "$HOME/x", "My Drive/x", "-dash", "a(b)", "back\\slash", "a b/", "日本"),
    " x ",
)


def values(*words: str) -> list[object]:
    """What Hydra reads of them."""
    return [each.value() for each in OverridesParser.create().parse_overrides(readable(list(words)))]


def test_a_path_is_read_as_it_is_typed():
    for key in ("data.root", "++data.root", "ckpt_path", "hydra.run.dir", "hydra.sweep.dir"):
        assert values(*(f"{key}={name}" for name in NAMES)) == list(NAMES)
    assert values("distill.teachers=[out (1), epoch=9.ckpt,2013]") == [["out (1)", "epoch=9.ckpt", "2013"]]
    assert values("data.root=${oc.env:HOME}/x") == ["${oc.env:HOME}/x"]  # which OmegaConf resolves
    meant = ["data.root=null", "data.root='a b'", 'data.root="x#y"', "data.root=", "distill.teachers=['a (1)',b]"]
    meant += ["distill.teachers=[${oc.env:NOPE,b}/x,c]", "distill.teachers=[a,b]", "~trainer.precision", "seed=3"]
    assert readable(meant) == meant


def test_commas_are_of_a_path_where_it_is_there_and_the_command_is_no_sweep(tmp_path):
    (tmp_path / "a,b").mkdir()
    assert values("data.root=a,b", "hydra.run.dir=c,d", "hydra.sweep.subdir=${seed}, (x)") == [
        "a,b",
        "c,d",
        "${seed}, (x)",
    ]
    for words in (["--multirun", "data.root=a,b"], ["data.root=a,c"]):
        assert readable(words) == words
    with pytest.raises(UserError, match="root=x#y,z: Hydra cannot read"):
        readable(["data.root=x#y,z"])


def test_backslashes_are_no_escapes_in_a_path():
    assert values(r"data.root=\\server\faces (1)\x") == [r"\\server\faces (1)\x"]
    assert values(r"distill.teachers=[\\server\a]") == [[r"\\server\a"]]


def test_options_may_stand_anywhere_and_a_recipe_have_a_plus():
    words = readable(
        ["model=dnn", "--multirun", "seed=0,1", "--config-dir", "own", "+experiment=best_dnn", "++aug=none"]
    )
    assert words == ["--multirun", "--config-dir", "own", "model=dnn", "seed=0,1", "experiment=best_dnn", "aug=none"]
    assert readable(["-cn", "own", "+experiment=best_dnn"])[-1] == "+experiment=best_dnn"  # of another defaults list
    assert readable(["+trainer.deterministic=true"]) == ["+trainer.deterministic=true"]


@pytest.mark.parametrize(
    ("words", "right"),
    [
        (["data.root=My", "Drive/(1)"], "Drive/(1): settings are written key=value"),
        (["data.root=My", "Drive/(1)"], "if it belongs to what stands before it: 'data.root=My Drive/(1)'"),
        (["data.root", "=", "x"], "data.root: settings are written key=value"),
        (["seed =3"], "seed =3: settings are written key=value"),
        (["hydra.run.dir=x\r"], "the script has Windows' ends of lines"),
        (["aug.scale=[0.9,", "1.1]"], "aug.scale=[0.9,: Hydra cannot read that; a list is one word"),
        (["model", "dnn"], "model: settings are written key=value, such as model=dnn"),
        (["--model", "dnn", "--epochs=3"], "--model --epochs=3: there is no such option; settings are written"),
        (["."], "a file or folder of FER2013 is data.root=."),
        ([""], "an empty word: settings"),
        (["=3"], "=3: settings are written key=value"),
        (["~=3"], "~=3: settings are written key=value"),
        (["hydra.job.name=josé"], "hydra.job.name=josé: Hydra cannot read that"),
        (["hydra.job.name=josé"], "a text with such letters stands in quotes, which the shell must leave: "),
        (["hydra.job.name=josé"], "'hydra.job.name=\"josé\"'"),
        (["+hydra.sweeper.params.seed='0,1'"], "hydra.sweeper.params.seed: it stands in a configuration"),
    ],
)  # fmt: skip
def test_a_word_that_is_no_setting_is_named_with_what_would_be_right(words, right):
    with pytest.raises(UserError) as told:
        readable(words)
    assert right in str(told.value)


def test_a_changed_folder_changes_no_path_and_what_is_printed_can_be_pasted(cli, few_faces_file, monkeypatch, tmp_path):
    """The working folder of a job is, with hydra.job.chdir, its own; and the command goes on from yet another one."""
    (tmp_path / "data").mkdir()
    shutil.copy(few_faces_file, tmp_path / "data" / "faces.npz")
    command = (*DNN, "hydra.job.chdir=true", "hydra.run.dir=My Drive/run (1)")
    ended = cli(*command)
    assert ended.status == 0, ended.err
    run = tmp_path / "My Drive" / "run (1)"
    assert json.loads((run / "metrics.json").read_text())["data"] == "fer2013"  # of ./data
    (told,) = (line for line in ended.out.splitlines() if "tensorboard" in line)
    assert shlex.split(told)[-1] == "My Drive/run (1)"

    student = ("distill.teachers=[My Drive/run (1)]", "data.root=data")
    ended = cli("--multirun", *DNN, *student, "hydra.job.chdir=true", "seed=0", "hydra.sweep.dir=sweep")
    assert ended.status == 0, ended.err

    monkeypatch.chdir("data")
    ended = cli(*DNN, "data.root=.", "hydra.run.dir=../My Drive/run (1)", "optimizer.lr=1", "resume=true")
    assert ended.status == 2
    there, command = ended.err.split("settings and data: ")[1].split(" && python -m fer_lightning ")
    monkeypatch.chdir(*shlex.split(there)[1:])
    ended = cli(*shlex.split(command))
    assert (ended.status, "complete already, skipped: My Drive/run (1)" in ended.out) == (0, True)


def test_a_configuration_of_ones_own_names_folders_sweeps_and_variables(cli, few_faces_file, tmp_path):
    (tmp_path / "own" / "experiment").mkdir(parents=True)
    (tmp_path / "own" / "experiment" / "mine.yaml").write_text(
        "# @package _global_\n"
        "hydra:\n"
        "  sweeper: {params: {seed: 'range(0,2)', aug: 'choice(norm)'}}\n"
        "  sweep: {dir: sweep, subdir: '${seed},${hydra.job.override_dirname}'}\n"
        "  job:\n"
        f"    env_set: {{FER2013_ROOT: '{few_faces_file}'}}\n"
        "    config: {override_dirname: {exclude_keys: [model.widths]}}\n"
        "data: {name: fer2013}\n"
    )
    command = ("--config-dir", "own", "--multirun", *DNN, "experiment=mine", "hydra/job_logging=stdout")
    ended = cli(*command)
    assert ended.status == 0, ended.err
    assert not list((tmp_path / "sweep").rglob("*.log"))
    jobs = sorted(path.parent.name for path in (tmp_path / "sweep").glob("*/metrics.json"))
    assert len(jobs) == 2
    for number, name in enumerate(jobs):
        assert name.startswith(f"{number},aug=norm,data.batch_size=64,experiment=mine,")
        assert f"seed={number}" in name
    ended = cli(*command)
    assert (ended.status, "already holds a sweep" in ended.err) == (2, True)
    ended = cli(*command, "resume=true")
    assert (ended.status, "of 2 jobs 2 complete" in ended.out) == (0, True)
