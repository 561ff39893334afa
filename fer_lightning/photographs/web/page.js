"use strict";
// What a person does and sees. The numbers come from worker.js, which runs beside it.

const MOST_PIXELS = 1 << 24; // that a canvas of every browser holds; larger pictures are scaled down
const HEIGHT = 420, ENLARGED = 4; // of a picture as it is shown, in CSS pixels; how many times its own size, at most

const $ = id => document.getElementById(id);
const K = JSON.parse($("constants").textContent);
const say = words => { $("status").textContent = words; };

// --- the worker

const worker = new Worker(URL.createObjectURL(new Blob([$("worker").textContent], {type: "text/javascript"})));
const waiting = [];

worker.onmessage = ({data: {answer, error}}) => {
  const {resolve, reject} = waiting.shift();
  if (error) reject(Error(error)); else resolve(answer);
};

function ask(task, argument, transfer = []) { // the worker answers in the order of the questions
  worker.postMessage({task, argument}, transfer);
  return new Promise((resolve, reject) => waiting.push({resolve, reject}));
}

const find = (task, picture, live = false) => // takes the picture's pixels away
  ask(task, {picture, live}, [picture.data.buffer]);

worker.onerror = () => say("This browser starts no worker for a page from disk. A current one is needed.");

const began = performance.now();
const packed = Object.fromEntries([...document.querySelectorAll("script.packed")].map(each => [each.id, each.textContent]));
const ready = ask("start", {constants: K, packed}).then(
  () => say(`Ready, after ${((performance.now() - began) / 1000).toFixed(1)} seconds.`));
ready.catch(error => say(`The network can't be started in this browser: ${error.message}. A current one is needed.`));

// --- pictures

async function show(files) {
  for (const file of files) {
    const article = $("picture").content.firstElementChild.cloneNode(true);
    const [title, canvas, answer, found] = [".name", "canvas", ".answer", ".found"].map(each => article.querySelector(each));
    const name = file.name || "picture";
    title.textContent = name;
    answer.textContent = "Looking …";
    $("pictures").prepend(article);
    $("clear").hidden = false;
    try {
      const bitmap = file.bitmap ?? await decoded(file);
      const see = async task => {
        await ready;
        const picture = pixels(bitmap);
        const faces = await find(task, picture);
        for (const face of faces) face.box = face.box.map(value => value / picture.scale);
        draw(canvas, bitmap, faces, bitmap);
        found.replaceChildren(...faces.map(card));
        answer.textContent = summary(faces);
        canvas.setAttribute("aria-label", `${name}: ${answer.textContent}`);
        say(`${name}: ${answer.textContent}`);
        return faces;
      };
      draw(canvas, bitmap, [], bitmap);
      if (!(await see("faces")).length) offer(answer, () => see("whole").then(() => title.focus()));
    } catch (error) {
      answer.textContent = error.name === "InvalidStateError" || error.name === "EncodingError"
        ? "This browser can't read it as a picture; of a telephone's heic, or a tiff, make a jpg." : `It can't be shown: ${error.message}.`;
      say(`${name}: ${answer.textContent}`);
    }
  }
}

function offer(answer, take) { // where no face was found
  const button = document.createElement("button");
  button.textContent = "Treat it as a ready face";
  button.title = "its middle square, cropped as FER2013's faces are: upright and filling the picture";
  button.onclick = take;
  answer.append(" ", button);
}

const decoded = file => // upright, with the colours of the file
  createImageBitmap(file, {imageOrientation: "from-image", colorSpaceConversion: "none"});

function pixels(source, width = source.width, height = source.height) { // RGBA on white, and by how much it is smaller
  const scale = Math.min(1, Math.sqrt(MOST_PIXELS / (width * height)));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height].map(side => Math.max(Math.floor(side * scale), 1));
  const context = canvas.getContext("2d", {willReadFrequently: true});
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(source, 0, 0, canvas.width, canvas.height);
  const {data} = context.getImageData(0, 0, canvas.width, canvas.height);
  return {width: canvas.width, height: canvas.height, data, scale};
}

// --- answers

const digits = value => value.toFixed(2);
const plural = (n, word) => `${n} ${word}${n === 1 ? "" : "s"}`;

function verdict({probabilities, likeliest}) {
  const name = K.CLASSES[likeliest], said = `${name} ${digits(probabilities[likeliest])}`;
  const sure = probabilities[likeliest] >= K.THRESHOLD;
  return {sure, word: sure ? name : "unsure", words: sure ? said : `unsure (likeliest: ${said})`};
}

function summary(faces) {
  if (!faces.length) return "No face found.";
  return `${plural(faces.length, "face")}: ${faces.map(face => verdict(face).words).join("; ")}.`;
}

function card(face, index) {
  const section = $("face").content.firstElementChild.cloneNode(true);
  const {sure, words} = verdict(face);
  section.querySelector("h3").textContent = `Face ${index + 1}: ${words}`;
  const [left, top, width, height] = face.box.map(Math.round);
  section.querySelector(".where").textContent = `${width} × ${height} pixels at ${left}, ${top}` +
    (Math.abs(face.roll) < 0.5 ? "" : `, turned by ${face.roll.toFixed(0).replace("-", "−")}°`);
  paint(section.querySelector(".seen"), face.pixels, `Face ${index + 1} as the network sees it: gray, 48 × 48 pixels`);
  if (face.map) {
    const most = Math.max(...face.map) || 1;
    paint(section.querySelector(".map"), face.pixels,
      `Grad-CAM: the parts of face ${index + 1} that speak for ${K.CLASSES[face.likeliest]} are yellow`,
      face.map.map(value => value / most));
    section.querySelector(".label").textContent = K.CLASSES[face.likeliest];
  }
  const body = section.querySelector("tbody"), row = body.firstElementChild;
  body.replaceChildren(...K.CLASSES.map((name, c) => {
    const filled = row.cloneNode(true);
    filled.classList.toggle("chosen", sure && c === face.likeliest);
    filled.querySelector("th").textContent = name;
    filled.querySelector(".bar span").style.width = `${100 * face.probabilities[c]}%`;
    filled.querySelector(".n").textContent = digits(face.probabilities[c]);
    return filled;
  }));
  return section;
}

function paint(canvas, grays, words, yellow = null) { // yellow: how much of each pixel, from 0 to 1
  const image = new ImageData(K.SIZE, K.SIZE);
  grays.forEach((gray, i) => {
    const share = yellow ? 0.7 * yellow[i] : 0;
    image.data.set([...[255, 221, 0].map(colour => gray + share * (colour - gray)), 255], 4 * i);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
  canvas.setAttribute("aria-label", words);
}

function draw(canvas, {width, height}, faces, source = null) { // boxes, over the picture if there is one
  const across = Math.min(canvas.parentElement.clientWidth, ENLARGED * width, width * HEIGHT / height);
  const sharp = window.devicePixelRatio, scale = across * sharp / width;
  canvas.style.width = `${across}px`;
  [canvas.width, canvas.height] = [width, height].map(side => Math.max(Math.round(side * scale), 1));
  const context = canvas.getContext("2d");
  if (source) context.drawImage(source, 0, 0, canvas.width, canvas.height);
  context.font = `600 ${14 * sharp}px system-ui, sans-serif`;
  context.textBaseline = "middle";
  faces.forEach((face, index) => {
    const {sure, word} = verdict(face);
    const [left, top, wide, high] = face.box.map(value => value * scale);
    context.setLineDash(sure ? [] : [6 * sharp, 4 * sharp]);
    for (const [colour, line] of [["#000", 5], ["#fff", 2.5]]) {
      [context.strokeStyle, context.lineWidth] = [colour, line * sharp];
      context.strokeRect(left, top, wide, high);
    }
    const label = `${index + 1} ${word}`, tall = 22 * sharp, long = context.measureText(label).width + 12 * sharp;
    const x = Math.min(Math.max(left, 0), canvas.width - long), y = Math.min(Math.max(top - tall, 0), canvas.height - tall);
    context.fillStyle = "#000";
    context.fillRect(x, y, long, tall);
    context.fillStyle = "#fff";
    context.fillText(label, x + 6 * sharp, y + tall / 2);
  });
}

// --- the camera

let stream = null;

async function startCamera() {
  if (!navigator.mediaDevices) return say("This browser gives a camera only to pages from disk and of https.");
  try {
    stream = await navigator.mediaDevices.getUserMedia({video: {facingMode: "user", width: {ideal: 640}}});
  } catch (error) {
    return say(`There is no camera to use: ${error.message}.`);
  }
  $("camera").textContent = "Stop the camera";
  $("live").hidden = false;
  $("video").srcObject = stream;
  await $("video").play();
  $("live").scrollIntoView({block: "nearest"});
  say("The camera is on.");
  watch($("video"), stream);
}

function stopCamera() {
  stream.getTracks().forEach(track => track.stop());
  stream = null;
  $("video").srcObject = null;
  $("live").hidden = true;
  $("camera").textContent = "Use the camera";
  say("The camera is off.");
}

async function watch(video, own) {
  await ready;
  let last = performance.now(), rate = 0;
  while (stream === own) {
    const size = {width: video.videoWidth, height: video.videoHeight};
    const faces = await find("faces", pixels(video, size.width, size.height), true);
    if (stream !== own) return;
    draw($("boxes"), size, faces);
    $("seen").replaceChildren(...faces.map(card));
    const now = performance.now();
    rate = rate ? 0.8 * rate + 0.2 * 1000 / (now - last) : 1000 / (now - last);
    last = now;
    $("rate").textContent = `${summary(faces)} ${rate.toFixed(1)} pictures a second.`;
    await new Promise(requestAnimationFrame); // none while the page is hidden
  }
}

// --- what a person does

$("choose").onclick = () => $("files").click();
$("files").onchange = () => {
  show([...$("files").files]);
  $("files").value = "";
};
$("camera").onclick = () => stream ? stopCamera() : startCamera();
$("still").onclick = async () => show([{name: "from the camera", bitmap: await createImageBitmap($("video"))}]);
$("clear").onclick = () => {
  $("pictures").replaceChildren();
  $("clear").hidden = true;
  say("The pictures are gone.");
  $("choose").focus();
};
document.ondragover = event => {
  event.preventDefault();
  $("drop").classList.add("over");
};
document.ondragleave = event => { if (!event.relatedTarget) $("drop").classList.remove("over"); };
document.ondrop = event => {
  event.preventDefault();
  $("drop").classList.remove("over");
  show([...event.dataTransfer.files]);
};
document.onpaste = event => show([...event.clipboardData.files]);
