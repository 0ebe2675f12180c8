// Images on their way to the service, the list of them, and the one that is shown.

import { draw, heatOf, thumbnail } from "/drawing.js";
import { answer, bitmap, detect, keepToken, offered } from "/service.js";

const AT_ONCE = 6; // requests: as many as a browser sends to one server
const THUMBNAIL = 96;
const KEPT = 20; // images that were shown, and are held to be shown again
const IMAGE = /\.(png|jpe?g|bmp|tiff?|webp|p[gpnba]m)$/i;
const ANSWERS = { good: "good", bad: "defect" };

const at = id => document.getElementById(id);
const [list, canvas] = [at("list"), at("canvas")];

let models = [];
let images = []; // { file, name, row, result, error, answer, bitmaps }
let chosen = null;
let waiting = [];
let underWay = 0;
let drawing = 0;

// ---- images come ----

function add(files) {
  const known = new Set(images.map(image => `${image.name} ${image.file.size} ${image.file.lastModified}`));
  for (const { file, name } of files) {
    if (!IMAGE.test(name) || known.has(`${name} ${file.size} ${file.lastModified}`)) continue;
    const image = { file, name, row: null };
    image.row = rowOf(image);
    images.push(image);
    waiting.push(image);
  }
  // Before it is known which models there are, images wait.
  for (; models.length && underWay < AT_ONCE && waiting.length; underWay++) work();
  show();
}

/** Scores images until none waits. */
async function work() {
  while (waiting.length) {
    const image = waiting.shift();
    const model = at("model").value;
    if (!image.previewed) preview(image);
    try {
      const result = await detect(model, image.file);
      if (model !== at("model").value) continue; // it waits again
      image.result = result;
    } catch (error) {
      if (error.status === 401) return stopForToken(image);
      image.error = error.status ? error.message : "the service cannot be reached";
    }
    chosen ??= image.result ? image : null;
    show();
    if (chosen === image) display();
  }
  underWay--;
  show();
}

function stopForToken(image) {
  waiting.unshift(image);
  underWay--;
  at("token-form").hidden = false;
  at("token").focus();
}

async function preview(image) {
  image.previewed = true;
  const own = await createImageBitmap(image.file).catch(() => null);
  if (!own) return;
  thumbnail(image.row.querySelector("canvas"), own);
  own.close();
}

/** The files of what was dropped, those in folders too. */
async function dropped(transfer) {
  const entries = [...transfer.items].map(item => item.webkitGetAsEntry?.()).filter(Boolean);
  if (!entries.length) return named(transfer.files);
  const files = [];
  const walk = async (entry, path) => {
    if (entry.isFile) {
      files.push({ file: await new Promise((done, fail) => entry.file(done, fail)), name: path + entry.name });
      return;
    }
    const reader = entry.createReader();
    for (;;) {
      const some = await new Promise((done, fail) => reader.readEntries(done, fail));
      if (!some.length) return;
      for (const inner of some) await walk(inner, `${path}${entry.name}/`);
    }
  };
  for (const entry of entries) await walk(entry, "");
  return files;
}

// ---- the list ----

function rowOf(image) {
  const row = document.createElement("li");
  row.role = "option";
  row.id = `image-${images.length}`;
  const small = document.createElement("canvas");
  small.width = small.height = THUMBNAIL;
  small.ariaHidden = "true";
  const text = document.createElement("div");
  const [name, below, verdict] = ["name", "below", "verdict"].map(kind => {
    const part = document.createElement(kind === "verdict" ? "span" : "div");
    part.className = kind;
    return part;
  });
  text.className = "text";
  text.append(name, below);
  name.textContent = image.name.split("/").pop();
  name.title = image.name;
  row.append(small, text, verdict);
  row.addEventListener("click", () => {
    choose(image);
    // In a narrow window it is below the list.
    if (matchMedia("(max-width: 52rem)").matches) at("shown").scrollIntoView({ block: "start" });
  });
  return row;
}

/** What an image is called by the threshold that is set here; only scored where the model has none. */
function verdictOf({ result, error }) {
  if (error) return "failed";
  if (!result) return "waiting";
  if (result.threshold === null) return result.verdict ?? "scored";
  const threshold = Number(at("threshold").value);
  if (threshold === 0.5 || result.verdict === "unusable") return result.verdict;
  return result.normalized_score > threshold ? "anomalous" : "good";
}

let shown = null;

/** Shows how all stands, soon. */
function show() {
  shown ??= setTimeout(() => {
    shown = null;
    refresh();
  }, 60);
}

function refresh() {
  images.sort((a, b) => (b.result?.score ?? -1) - (a.result?.score ?? -1));
  const counts = { anomalous: 0, good: 0, unsure: 0, unusable: 0, scored: 0, failed: 0, waiting: 0 };
  images.forEach((image, i) => {
    const { row, result, error, name } = image;
    const verdict = verdictOf(image);
    counts[verdict]++;
    const said = image.answer ? `, you said ${image.answer}` : "";
    const score = result ? result.normalized_score?.toFixed(3) ?? result.score.toPrecision(4) : error ?? "…";
    row.querySelector(".below").textContent = score + said;
    const badge = row.querySelector(".verdict");
    badge.textContent = verdict;
    badge.className = `verdict ${verdict}`;
    row.ariaLabel = `${name}, ${verdict}, ${score}${said}`;
    row.ariaSelected = String(image === chosen);
    if (list.children[i] !== row) list.insertBefore(row, list.children[i] ?? null);
  });
  list.hidden = !images.length;
  at("threshold-row").hidden = !images.length || modelOf()?.threshold === null;
  if (chosen) list.setAttribute("aria-activedescendant", chosen.row.id);
  const done = images.length - counts.waiting;
  at("progress").hidden = !counts.waiting;
  at("progress").max = Math.max(1, images.length);
  at("progress").value = done;
  const judges = modelOf()?.threshold !== null;
  const found = ["anomalous", "unsure", "unusable", "failed"].filter(kind => counts[kind] || (judges && kind === "anomalous"));
  const kinds = found.map(kind => `${counts[kind]} ${kind}`).join(", ");
  at("status").textContent = images.length ? `${done} of ${images.length} scored${kinds && `: ${kinds}`}.` : "No images yet.";
  // Not each on the way: that would be read out without end.
  if (images.length && !counts.waiting) speak(at("status").textContent);
  at("threshold-value").textContent = Number(at("threshold").value).toFixed(2) + (at("threshold").value === "0.5" ? ", the model's" : "");
}

/** Tells who looks and who listens. */
function tell(text) {
  at("status").textContent = text;
  speak(text);
}

/** Tells who listens to the page. */
function speak(text) {
  if (at("spoken").textContent !== text) at("spoken").textContent = text;
}

// ---- the one that is shown ----

function choose(image) {
  chosen = image;
  refresh();
  image.row.scrollIntoView({ block: "nearest" });
  display();
}

/** An image's pixels and heat, those of the last few kept. */
async function bitmapsOf(image) {
  if (!image.bitmaps) {
    const model = at("model").value;
    const own = await createImageBitmap(image.file).catch(() => null);
    // Of formats that browsers do not know, the service's own pixels.
    const found = await detect(model, image.file, own ? { heatmap: "grey" } : { heatmap: "grey", image: "png" });
    const heat = await bitmap(found.heatmap);
    image.bitmaps = { own: own ?? (await bitmap(found.image)), heat: heatOf(heat) };
    if (!own) thumbnail(image.row.querySelector("canvas"), image.bitmaps.own);
    heat.close();
    const kept = images.filter(other => other.bitmaps && other !== image);
    kept.slice(0, Math.max(0, kept.length + 1 - KEPT)).forEach(forget);
  }
  return image.bitmaps;
}

function forget(image) {
  image.bitmaps?.own.close();
  image.bitmaps = null;
}

async function display() {
  const image = chosen;
  at("nothing").hidden = Boolean(image);
  at("shown").hidden = !image;
  if (!image) return;
  const { result, error } = image;
  const verdict = verdictOf(image);
  at("title").textContent = image.name;
  at("verdict").textContent = verdict;
  at("verdict").className = `verdict ${verdict}`;
  at("details").textContent = error ?? (result
    ? [`score ${result.score.toPrecision(4)}, ${thresholdOf(result)}${result.threshold === null ? "" : `, normalized ${result.normalized_score.toFixed(3)}`}`,
      `${result.width} × ${result.height} pixels`].join("; ")
    : "is being scored …");
  const reasons = result?.reasons ?? [];
  const [why, all] = [at("why"), reasons.length > 1 ? `, and ${reasons.length - 1} more` : ""];
  why.hidden = !reasons.length;
  why.querySelector("summary").textContent = `It cannot be judged: ${reasons[0]?.split(":")[0]}${all}`;
  why.querySelector("ul").replaceChildren(...reasons.map(reason => {
    const line = document.createElement("li");
    line.textContent = reason;
    return line;
  }));
  for (const [id, said] of Object.entries(ANSWERS)) {
    at(id).ariaPressed = String(image.answer === said);
    at(id).disabled = !result;
  }
  for (const id of ["opacity", "heat"]) at(`${id}-value`).textContent = `${Math.round(100 * at(id).value)} %`;
  const mine = ++drawing;
  if (!result) {
    canvas.width = canvas.height = 1;
    return;
  }
  try {
    const { own, heat } = await bitmapsOf(image);
    if (mine === drawing) draw(canvas, own, heat, Number(at("opacity").value), Number(at("heat").value));
  } catch (failed) {
    at("details").textContent = `cannot be shown: ${failed.message}`;
  }
}

function step(by) {
  const next = images[images.indexOf(chosen) + by];
  if (next) choose(next);
}

/** Says what an image is; the same again takes it back. */
async function say(id) {
  const image = chosen;
  if (!image?.result || at("answers").hidden) return;
  const said = image.answer === ANSWERS[id] ? null : ANSWERS[id];
  try {
    await answer(at("model").value, image.file, said ?? "none");
    image.answer = said;
    refresh();
    tell(said ? `Saved: ${image.name} is ${said}.` : `Taken back: ${image.name}.`);
  } catch (failed) {
    tell(`Not saved: ${failed.message}`);
  }
  display();
}

// ---- the model ----

const modelOf = () => models.find(({ name }) => name === at("model").value);

const thresholdOf = ({ threshold }) => (threshold === null ? "no threshold" : `threshold ${threshold.toPrecision(4)}`);

function describe() {
  const model = modelOf();
  at("about").textContent = model ? `${model.net}, sees ${model.side} × ${model.side} pixels, ${thresholdOf(model)}` : "";
}

async function begin(isRefused = false) {
  try {
    const all = await offered();
    models = all.models;
    at("token-form").hidden = true;
    at("model").parentElement.hidden = false;
    at("model").replaceChildren(...models.map(({ name }) => new Option(name, name)));
    at("answers").hidden = at("answer-hint").hidden = !all.answers;
    describe();
    add([]);
  } catch (error) {
    if (error.status === 401) {
      at("token-form").hidden = false;
      at("token").focus();
    }
    tell(error.status !== 401 ? error.message : isRefused ? "That is not its token." : "It asks for its token first.");
  }
}

function anotherModel() {
  describe();
  images.forEach(image => {
    forget(image);
    Object.assign(image, { result: null, error: null, answer: null });
  });
  waiting = [...images];
  add([]);
  display();
}

// ---- what people do ----

const named = files => [...files].map(file => ({ file, name: file.webkitRelativePath || file.name }));
for (const [button, input] of [["choose-images", "files"], ["choose-folder", "folder"]]) {
  at(button).addEventListener("click", () => at(input).click());
  at(input).addEventListener("change", event => {
    add(named(event.target.files));
    event.target.value = "";
  });
}
addEventListener("dragover", event => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", event => event.relatedTarget ?? document.body.classList.remove("over"));
addEventListener("drop", async event => {
  event.preventDefault();
  document.body.classList.remove("over");
  add(await dropped(event.dataTransfer));
});
at("model").addEventListener("change", anotherModel);
at("threshold").addEventListener("input", () => {
  show();
  display();
});
for (const id of ["opacity", "heat"]) at(id).addEventListener("input", display);
for (const id of Object.keys(ANSWERS)) at(id).addEventListener("click", () => say(id));
at("token-form").addEventListener("submit", event => {
  event.preventDefault();
  keepToken(at("token").value);
  at("token").value = "";
  begin(true);
});
addEventListener("keydown", event => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.target.matches("input, select, textarea")) return;
  const act = {
    ArrowDown: () => step(1),
    ArrowUp: () => step(-1),
    ArrowRight: () => step(1),
    ArrowLeft: () => step(-1),
    g: () => say("good"),
    b: () => say("bad"),
  }[event.key];
  if (!act || !images.length) return;
  event.preventDefault();
  act();
});

begin();
