#!/usr/bin/env bash
# What needs a GPU, in stages: STAGES="probe published" bench/gpu.sh --data PATH --out DIR [key=value …]
#
#   probe      eight epochs of the published CNN, alone: eager, then compiled
#   published  the published CNN, seeds 0 to 2 at once
#   best       the best CNN, seeds 0 to 2 at once; then its ten copies (--tta), each seed alone and the three together
#   ablation   the published CNN without augmentation and without normalization, at once
#   baseline   an epoch of the plain baseline with a loader process a core, beside ours
#
# key=value: settings of all runs. --tiny: all of it in small, on the CPU and the built-in faces. After MINUTES (8) runs
# are ended as by Ctrl-C, and the same call goes on with them while WORK (outputs/gpu) is there.
# DIR gets small.tar.gz, the small files of all there is, without a face, and each network in half precision.
# gpu.csv in it: how busy the card was, each second; metrics.json of a run: the seconds of an epoch, and of all.
# Exit status: 0 done; 75 call again; 1 something failed, its log is printed; 2 a mistake; 130 interrupted.
set -uo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
if [ -z "${PYTHON:-}" ]; then
    PYTHON=$root/.venv/bin/python
    [ -x "$PYTHON" ] || PYTHON=python3
fi
export PYTHONPATH=$root${PYTHONPATH:+:$PYTHONPATH}
work=${WORK:-outputs/gpu}
common=(logger=none) given=() data=() out= tiny=

die() {
    echo "bench/gpu.sh: $1" >&2
    exit 2
}

while [ $# -gt 0 ]; do
    case $1 in --data | --out) [ $# -ge 2 ] || die "$1: its value is missing" ;; esac
    case $1 in
        -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" && exit 0 ;;
        --data) data=(--data "$2") common+=(data=fer2013 trainer=gpu "data.root=$2") && shift ;;
        --out) out=$2 && shift ;;
        --tiny) tiny=yes common+=(data=synthetic trainer=cpu +trainer.limit_train_batches=4 trainer.max_epochs=2
            'model.channels=[4,4,4,4,4]' model.hidden=8) ;;
        *=*) given+=("$1") ;;
        *) die "$1: no option and no key=value" ;;
    esac
    shift
done
stages=(${STAGES:-probe published best ablation baseline})
for stage in "${stages[@]}"; do
    case $stage in probe | published | best | ablation | baseline) ;; *) die "STAGES: no stage is called $stage" ;; esac
done
[ ${#stages[@]} -gt 0 ] || die "STAGES: it is empty"
[[ ${MINUTES:=8} =~ ^([2-9]|[1-9][0-9])$ ]] || die "MINUTES=$MINUTES: it must be a whole number from 2 to 99"
[ -n "$out" ] || die "--out DIR is missing"
[ -n "$tiny" ] || [ ${#data[@]} -gt 0 ] || die "--data PATH is missing"
[ ${#data[@]} = 0 ] || [ -e "${data[1]}" ] || die "--data ${data[1]}: no such file or folder"
mkdir -p "$out" "$work" || exit 2
END=$((SECONDS + 60 * MINUTES - 40)) # the rest is for scores of what was cut off, and for results

declare -A jobs
failed=() unfinished=() stopped=
trap 'stopped=yes; kill -TERM "${!jobs[@]}" 2>/dev/null' INT TERM HUP

left() { echo $((END - SECONDS)); }

begin() { # NAME COMMAND…: in the background, until the time is over; its log goes to WORK/NAME.log
    local name=$1
    shift
    if [ -n "$stopped" ] || [ "$(left)" -lt 20 ]; then
        unfinished+=("$name")
        return
    fi
    echo "$name …"
    timeout -s TERM -k 30 "$(left)" "$PYTHON" -m "$@" >>"$work/$name.log" 2>&1 &
    jobs[$!]=$name
}

run() { # NAME SETTINGS…: train it, or go on with it
    local name=$1
    shift
    begin "$name" fer_lightning "$@" "${common[@]}" "${given[@]}" "hydra.run.dir=$work/$name" resume=true
}

together() { # wait for all that was begun
    local pid status
    for pid in "${!jobs[@]}"; do
        wait "$pid"
        status=$?
        while kill -0 "$pid" 2>/dev/null; do # the wait was ended by a signal, not the job
            wait "$pid"
            status=$?
        done
        [ $status = 137 ] && [ "$(left)" -gt 0 ] && status=9 # killed, but not by the time limit: no memory, perhaps
        case $status in
            0) ;;
            124 | 130 | 137 | 143) unfinished+=("${jobs[$pid]}") ;;
            *)
                failed+=("${jobs[$pid]}")
                tail -n 15 "$work/${jobs[$pid]}.log"
                ;;
        esac
        unset "jobs[$pid]"
    done
}

probe() {
    run eager experiment=published_cnn trainer.max_epochs=8 trainer.compile=false
    together
    run compiled experiment=published_cnn trainer.max_epochs=8 trainer.compile=true
}

published() {
    for seed in 0 1 2; do run "published-$seed" experiment=published_cnn "seed=$seed"; done
}

best() { # one split for all seeds: together they can still be scored on validation data
    local runs=("$work"/best-{0,1,2}) before=$((${#unfinished[@]} + ${#failed[@]}))
    for seed in 0 1 2; do run "best-$seed" experiment=best_cnn "seed=$seed" data.split_seed=0; done
    together
    [ $((${#unfinished[@]} + ${#failed[@]})) = "$before" ] || return
    for run in "${runs[@]}"; do score "tta-$(basename "$run")" "$run" --tta; done
    score tta-together "${runs[0]}" --ensemble "${runs[@]:1}" --tta
}

score() { # NAME ARGUMENTS… of evaluate, unless it is there
    local name=$1
    shift
    [ -f "$work/$name/evaluation.json" ] && return
    rm -rf "${work:?}/$name" # cut off
    begin "$name" fer_lightning.evaluate "$@" "${data[@]}" --out "$work/$name"
}

ablation() {
    for aug in none norm; do run "ablation-$aug" experiment=published_cnn "aug=$aug"; done
}

baseline() {
    local where=(--gpu --images 25838)
    [ -z "$tiny" ] || where=(--quick --against baseline)
    [ -f "$work/baseline.json" ] ||
        begin baseline bench cnn --pairs 2 "${where[@]}" "${data[@]}" --json "$work/baseline.json"
}

results() {
    "$PYTHON" - "$work" "$out" <<'PYTHON' || failed+=(results)
import sys
from pathlib import Path
from fer_lightning.results.checkpoint import read_checkpoint
from fer_lightning.results.weights import write_weights

work, out = map(Path, sys.argv[1:])
for best in work.glob("*/checkpoints/best.ckpt"):
    write_weights(read_checkpoint(best), out / f"{best.parents[1].name}.safetensors")
PYTHON
    (cd "$work" && find ./* -type f ! -path '*/checkpoints/*' ! -name mistakes.png ! -name '*.tfevents.*' -print0) |
        tar -czf "$out/small.tar.gz" -C "$work" --transform 's|^\./||' --null -T -
}

nvidia-smi --query-gpu=timestamp,utilization.gpu --format=csv -l 1 >>"$work/gpu.csv" 2>/dev/null &
watch=$!
for stage in "${stages[@]}"; do
    "$stage"
    together
done
kill $watch 2>/dev/null
results
[ ${#failed[@]} = 0 ] || echo "failed: ${failed[*]}" >&2
[ ${#unfinished[@]} = 0 ] || echo "unfinished: ${unfinished[*]}; the same call goes on"
[ -z "$stopped" ] || exit 130
[ ${#failed[@]} = 0 ] || exit 1
[ ${#unfinished[@]} = 0 ] || exit 75
