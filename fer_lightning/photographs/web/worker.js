"use strict";
// From pictures to answers, beside the page, so that it stays awake. It does what photographs/*.py do, function by
// function and under the same names; tests/photographs/test_web_page.py holds the answers of both together.
//
// A picture is {width, height, data}, 4 bytes a pixel: red, green, blue, one unused. Complex numbers are [re, im].

let K; // the constants of the Python modules
let ort, detector, classifier;

const TASKS = {start, faces, whole};

let last = Promise.resolve();
onmessage = ({data}) => { last = last.then(() => answer(data)); }; // a network does one thing at a time

async function answer({task, argument}) {
  try {
    postMessage({answer: await TASKS[task](argument)});
  } catch (error) {
    postMessage({error: error.message});
  }
}

async function start({constants, packed}) {
  K = constants;
  ort = await import(URL.createObjectURL(new Blob([await unpacked(packed.runtime)], {type: "text/javascript"})));
  ort.env.wasm.numThreads = 1; // more need headers that a file from disk does not have
  ort.env.wasm.wasmBinary = await unpacked(packed.wasm);
  detector = await ort.InferenceSession.create(await unpacked(packed.detector));
  classifier = await ort.InferenceSession.create(await unpacked(packed.classifier));
}

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), letter => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// --- faces.py

async function faces({picture, live}) {
  const gray = toGray(picture), done = [];
  const found = await detections(picture, live);
  found.sort((one, two) => two[3] * two[4] - one[3] * one[4]);
  for (const each of found) {
    const landmarks = await refined(gray, points(each));
    done.push({gray, box: each.slice(1, 5), toPicture: inverse(fit(landmarks, K.TRAINING_LANDMARKS))});
  }
  return answers(done, live ? K.VARIANTS.slice(0, 1) : K.VARIANTS);
}

async function refined(gray, landmarks) {
  const side = K.SHORTEST, larger = {a: [K.SIZE / side, 0], shift: [0, 0]};
  const fromMiddle = ([, left, top, wide, high]) => Math.hypot(left + wide / 2 - side / 2, top + high / 2 - side / 2);
  for (let look = 0; look < K.LOOKS; look++) {
    const view = after(inverse(fit(landmarks, K.TRAINING_LANDMARKS)), larger);
    const data = new Uint8ClampedArray(4 * side ** 2);
    const crop = warp(gray, view, side);
    lit(crop, crop).forEach((level, i) => data.fill(level, 4 * i, 4 * i + 4)); // rounds as Python does
    const found = await detect({width: side, height: side, data});
    if (found.length) {
      const own = found.reduce((one, two) => fromMiddle(two) < fromMiddle(one) ? two : one);
      landmarks = points(own).map(point => plus(times(view.a, point), view.shift));
    }
  }
  return landmarks;
}

const points = found => [0, 1, 2, 3, 4].map(k => [found[5 + 2 * k], found[6 + 2 * k]]);

async function whole({picture}) {
  const {width, height} = picture, side = Math.min(width, height);
  const corner = [(width - side) / 2, (height - side) / 2];
  const toPicture = {a: [side / K.SIZE, 0], shift: corner};
  return answers([{gray: toGray(picture), box: [...corner, side, side], toPicture}], K.VARIANTS);
}

async function answers(found, chosen) {
  const done = [];
  for (const face of found) {
    const crops = variants(face, chosen);
    const [re, im] = face.toPicture.a;
    done.push({box: face.box, roll: Math.atan2(im, re) * 180 / Math.PI, pixels: crops[0], ...await classify(crops)});
  }
  return done;
}

function variants({gray, toPicture}, chosen) {
  const crops = litAlike(chosen.map(variant => warp(gray, after(toPicture, variant))));
  return crops.flatMap(crop => {
    return [crop, crop.map((_, i) => crop[i - i % K.SIZE + K.SIZE - 1 - i % K.SIZE])]; // and its mirror image
  });
}

async function classify(crops) { // the mean over the crops; of the first one the map of the likeliest class
  const size = K.SIZE ** 2, classes = K.CLASSES.length;
  const pixels = new Uint8Array(crops.length * size);
  crops.forEach((crop, n) => pixels.set(crop, n * size));
  const input = new ort.Tensor("uint8", pixels, [crops.length, 1, K.SIZE, K.SIZE]);
  const found = await classifier.run({[K.FACES]: input});
  const {data} = found[K.PROBABILITIES];
  const probabilities = K.CLASSES.map((_, c) => crops.reduce((sum, _, n) => sum + data[n * classes + c], 0) / crops.length);
  const likeliest = probabilities.indexOf(Math.max(...probabilities));
  return {probabilities, likeliest, map: found[K.MAPS]?.data.slice(likeliest * size, (likeliest + 1) * size)};
}

async function detections(picture, live) { // live, only the first look: the next picture comes at once
  const longer = Math.max(picture.width, picture.height);
  const usual = Math.min(Math.max(longer, K.SHORTEST), K.USUAL);
  let found = await look(picture, usual);
  if (live) return found;
  if (longer > K.USUAL && !found.some(each => each[4] >= K.SMALL * longer / K.USUAL)) {
    found = distinct([...found, ...await look(picture, Math.min(longer, K.LARGER))]);
  }
  let upright = best(found); // in its own light, as the turned picture is looked at
  if (upright < K.SURE) {
    for (const each of clearer(scaled(picture, usual))) {
      found.push(...(await seenIn(each, picture)).filter(([score]) => score >= K.LEAST_CHANGED));
    }
    found = distinct(found);
  }
  if (best(found) < K.SURE) {
    for (const turns of K.TURNS) {
      const turned = await look(rot90(picture, turns), usual);
      if (best(turned) >= Math.max(K.LEAST_CHANGED, upright + K.AHEAD)) {
        [found, upright] = [turned.map(each => turnedBack(each, turns, picture)), best(turned)];
      }
    }
  }
  return found;
}

const best = found => Math.max(0, ...found.map(each => each[0]));

const look = (picture, longer) => seenIn(scaled(picture, longer), picture);

function scaled(picture, longer) {
  const {width, height} = picture, scale = longer / Math.max(width, height);
  return resized(picture, ...[width, height].map(side => Math.max(round(side * scale), 1)));
}

async function seenIn(scaled, {width, height}) {
  const found = await detect(scaled), [across, down] = [width / scaled.width, height / scaled.height];
  return found.map(each => each.map((value, i) => i ? value * (i % 2 ? across : down) : value));
}

function turnedBack([score, left, top, wide, high, ...points], turns, {width, height}) {
  for (let turn = turns - 1; turn >= 0; turn--) {
    const across = turn % 2 ? height : width;
    [left, top, wide, high] = [across - top - high, left, high, wide];
    points = points.map((_, i) => i % 2 ? points[i - 1] : across - points[i + 1]);
  }
  return [score, left, top, wide, high, ...points];
}

// --- light.py

function levels(gray) {
  const sorted = gray.slice().sort();
  return [K.DARKEST, K.BRIGHTEST].map(percent => {
    const at = percent / 100 * (sorted.length - 1), below = Math.floor(at);
    return sorted[below] + (at - below) * (sorted[Math.min(below + 1, sorted.length - 1)] - sorted[below]);
  });
}

function lit(pixels, gray) {
  const [darkest, brightest] = levels(gray);
  const range = brightest - darkest, share = Math.min((K.ENOUGH - range) / (K.ENOUGH - K.FEW), 1);
  if (share <= 0) return pixels;
  const [low, high] = K.TRAINING_LEVELS, times = (high - low) / Math.max(range, K.NOISE);
  const [from, to] = [(darkest + brightest) / 2, (low + high) / 2];
  return Float64Array.from(pixels, pixel => pixel + share * (to + (pixel - from) * times - pixel));
}

function litAlike(crops) {
  const [first, last] = K.MIDDLE, inside = side => side >= first && side < last;
  const middle = crops[0].filter((_, i) => inside(i % K.SIZE) && inside(Math.floor(i / K.SIZE)));
  return crops.map(crop => Uint8ClampedArray.from(lit(crop, middle)));
}

function clearer(picture) {
  const {width, height} = picture;
  const small = [width, height].map(side => Math.max(Math.floor(side / K.SMOOTHED), 1));
  const better = litPicture(picture), smoothed = litPicture(resized(resized(picture, ...small), width, height));
  return better === picture ? [smoothed] : [better, smoothed];
}

function litPicture(picture) {
  const {width, height} = picture, data = lit(picture.data, toGray(picture).data);
  return data === picture.data ? picture : {width, height, data: Uint8ClampedArray.from(data)};
}

// --- detector.py

async function detect(picture) {
  const [width, height] = [picture.width, picture.height].map(side => Math.ceil(side / K.MULTIPLE) * K.MULTIPLE);
  const input = new Float32Array(3 * width * height);
  for (let y = 0; y < picture.height; y++) {
    for (let x = 0; x < picture.width; x++) {
      const from = 4 * (y * picture.width + x), to = y * width + x;
      for (let c = 0; c < 3; c++) input[c * width * height + to] = picture.data[from + c];
    }
  }
  const {cells} = await detector.run({picture: new ort.Tensor("float32", input, [1, 3, height, width])});
  const found = [];
  for (let i = 0; i < cells.data.length; i += 15) {
    if (cells.data[i] >= K.LEAST_SCORE) found.push([...cells.data.subarray(i, i + 15)]);
  }
  return distinct(found);
}

function distinct(found) {
  let left = [...found].sort((one, two) => two[0] - one[0]);
  const kept = [];
  while (left.length) {
    const [first, ...others] = left;
    kept.push(first);
    left = others.filter(each => iou(first, each) <= K.OVERLAP);
  }
  return kept;
}

function iou([, left, top, width, height], [, left2, top2, width2, height2]) {
  const across = Math.min(left + width, left2 + width2) - Math.max(left, left2);
  const down = Math.min(top + height, top2 + height2) - Math.max(top, top2);
  const shared = Math.max(across, 0) * Math.max(down, 0);
  return shared / (width * height + width2 * height2 - shared);
}

// --- align.py

const times = ([a, b], [c, d]) => [a * c - b * d, a * d + b * c];
const plus = ([a, b], [c, d]) => [a + c, b + d];
const minus = ([a, b], [c, d]) => [a - c, b - d];
const over = (z, [c, d]) => times(z, [c / (c * c + d * d), -d / (c * c + d * d)]);

const after = (last, first) => ({a: times(last.a, first.a), shift: plus(times(last.a, first.shift), last.shift)});
const inverse = ({a, shift}) => ({a: over([1, 0], a), shift: over([-shift[0], -shift[1]], a)});

function fit(source, target) {
  const mean = points => points.reduce(plus).map(sum => sum / points.length);
  const [p, q] = [mean(source), mean(target)];
  let product = [0, 0], square = 0;
  source.forEach((point, k) => {
    const [x, y] = minus(point, p);
    product = plus(product, times([x, -y], target[k]));
    square += x * x + y * y;
  });
  const a = product.map(part => part / square);
  return {a, shift: minus(q, times(a, p))};
}

function warp({width, height, data}, {a, shift}, size = K.SIZE) {
  const samples = Math.min(Math.max(Math.ceil(Math.hypot(...a)), 1), Math.floor(K.MOST_SAMPLES * K.SIZE / size));
  const sums = new Float64Array(size ** 2), side = size * samples;
  for (let i = 0; i < side; i++) {
    for (let j = 0; j < side; j++) {
      const u = (j + 0.5) / samples, v = (i + 0.5) / samples;
      const x = Math.min(Math.max(a[0] * u - a[1] * v + shift[0] - 0.5, 0), width - 1);
      const y = Math.min(Math.max(a[1] * u + a[0] * v + shift[1] - 0.5, 0), height - 1);
      const left = Math.floor(x), top = Math.floor(y), dx = x - left, dy = y - top;
      const right = Math.min(left + 1, width - 1), below = Math.min(top + 1, height - 1);
      sums[Math.floor(i / samples) * size + Math.floor(j / samples)] +=
        (1 - dy) * ((1 - dx) * data[top * width + left] + dx * data[top * width + right]) +
        dy * ((1 - dx) * data[below * width + left] + dx * data[below * width + right]);
    }
  }
  return sums.map(sum => sum / samples ** 2);
}

// --- numpy and Pillow

function round(value) { // of two equally near numbers the even one, as Python does
  const near = Math.round(value);
  return near - value === 0.5 && near % 2 ? near - 1 : near;
}

function rot90({width, height, data}, turns) { // anticlockwise
  let pixels = new Uint32Array(data.buffer, data.byteOffset, width * height);
  for (; turns > 0; turns--) {
    const turned = new Uint32Array(pixels.length);
    for (let y = 0; y < width; y++) {
      for (let x = 0; x < height; x++) turned[y * height + x] = pixels[x * width + width - 1 - y];
    }
    [width, height, pixels] = [height, width, turned];
  }
  return {width, height, data: new Uint8ClampedArray(pixels.buffer, pixels.byteOffset, 4 * pixels.length)};
}

function toGray({width, height, data}) {
  const gray = new Uint8Array(width * height);
  for (let i = 0; i < gray.length; i++) {
    gray[i] = (data[4 * i] * 19595 + data[4 * i + 1] * 38470 + data[4 * i + 2] * 7471 + 0x8000) >> 16;
  }
  return {width, height, data: gray};
}

function resized(picture, width, height) { // bilinear, smoothed where it gets smaller: across, then down
  let {data} = picture;
  if (width !== picture.width) data = resampled(data, picture.height, 4 * picture.width, 4, width, picture.width);
  if (height !== picture.height) data = resampled(data, width, 4, 4 * width, height, picture.height);
  return {width, height, data};
}

// `to` pixels of `from` in each of some lines, `step` bytes apart; `apart` is from line to line before.
function resampled(data, lines, apart, step, to, from) {
  const across = step === 4, next = across ? 4 * to : 4;
  const result = new Uint8ClampedArray(4 * lines * to);
  const scale = from / to, reach = Math.max(scale, 1), bits = 22;
  for (let i = 0; i < to; i++) {
    const centre = (i + 0.5) * scale;
    const first = Math.max(Math.trunc(centre - reach + 0.5), 0);
    const last = Math.min(Math.trunc(centre + reach + 0.5), from);
    const weights = [];
    for (let k = first; k < last; k++) weights.push(Math.max(1 - Math.abs((k - centre + 0.5) / reach), 0));
    const total = weights.reduce((sum, weight) => sum + weight, 0);
    const whole = weights.map(weight => Math.trunc(weight / total * (1 << bits) + 0.5));
    for (let line = 0; line < lines; line++) {
      for (let c = 0; c < 3; c++) {
        let sum = 1 << (bits - 1), at = line * apart + first * step + c;
        for (let k = 0; k < whole.length; k++, at += step) sum += whole[k] * data[at];
        result[line * next + i * step + c] = sum >> bits;
      }
    }
  }
  return result;
}
