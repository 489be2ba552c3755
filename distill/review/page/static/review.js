// The review page: shows one row at a time and sends what is decided about it.
// Rows come as HTML the server has escaped; everything made here is text nodes.

const REPEAT_MS = 220; // pause in typing after which a fix is checked

const $ = (id) => document.getElementById(id);
const trace = $("trace");
const pages = new Map(); // row -> promise of its HTML, asked for ahead of need
let status = JSON.parse($("start").textContent);
let here = 0; // the row shown; slots.length: the end
let mode = "read"; // or "reject", "fix"
let busy = false; // while one thing is done, keys and clicks that would do another are dropped

// --- the server -------------------------------------------------------------------------------

async function post(path, body = {}) {
  const answer = await reach(path, {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  });
  const data = await answer.json();
  if (data.status) update(data.status);
  return { ok: answer.ok, data };
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch {
    throw new Error("The server has stopped. Run distill review again; nothing is lost.");
  }
}

async function html(path) {
  const answer = await reach(path);
  if (!answer.ok) throw new Error((await answer.json()).detail);
  return answer.text();
}

function page(row) {
  if (!pages.has(row)) {
    const path = row < status.slots.length ? `rows/${row}` : "end";
    const asked = html(path);
    asked.catch(() => pages.delete(row));
    pages.set(row, asked);
  }
  return pages.get(row);
}

// --- going about ------------------------------------------------------------------------------

const slot = () => status.slots[here];
const isOpen = (one) => !one.verdict && (!one.by || one.by === status.reviewer);

function nextOpen(from) {
  const count = status.slots.length;
  for (let step = 1; step <= count; step++) {
    const row = (from + step) % count;
    if (isOpen(status.slots[row])) return row;
  }
  return count;
}

async function go(row) {
  if (row < 0 || row > status.slots.length) return;
  closeMode();
  say("");
  pages.delete(status.slots.length); // the end always tells how it stands now
  const content = await page(row);
  here = row;
  trace.innerHTML = content;
  $("about").replaceChildren(trace.querySelector("#about-this").content);
  history.replaceState(null, "", `#${row + 1}`);
  window.scrollTo(0, 0);
  trace.focus({ preventScroll: true });
  draw();
  if (row === status.slots.length) return;
  if (isOpen(slot())) hold(row).catch(complain);
  for (const near of [nextOpen(row), row + 1]) if (near < status.slots.length) page(near);
}

async function hold(row) {
  const { data } = await post(`rows/${row}/look`);
  if (!data.free && here === row && !slot().verdict) say(`${slot().by} has this one open.`, "bad");
}

// --- deciding ---------------------------------------------------------------------------------

const DONE = { approve: "Approved.", reject: "Rejected.", fix: "Fixed." };

async function decide(path, body, verdict) {
  const row = here;
  const { ok, data } = await post(`rows/${row}/${path}`, body);
  pages.delete(row);
  if (ok) {
    await go(nextOpen(row));
    say(DONE[verdict], verdict, "U undoes it.");
  } else if (data.problems) {
    mark(data);
  } else {
    await go(row);
    say(`${data.detail}.`, "bad");
  }
}

async function act(name, ...values) {
  if (busy) return;
  busy = true;
  trace.setAttribute("aria-busy", "true");
  try {
    await acts[name](...values);
  } catch (error) {
    complain(error);
  } finally {
    busy = false;
    trace.removeAttribute("aria-busy");
  }
}

const complain = (error) => say(error.message, "bad");

function mayDecide() {
  if (here >= status.slots.length || mode !== "read") return false;
  if (slot().by && slot().by !== status.reviewer) {
    say(`${slot().by} has this one.`, "bad");
    return false;
  }
  return true;
}

const acts = {
  go,
  approve: () => mayDecide() && decide("ruling", { verdict: "approve" }, "approve"),
  reject: () => mayDecide() && openReject(),
  fix: () => mayDecide() && openFix(),
  save: () => mode === "fix" && !$("fixing").querySelector("[data-do=save]").disabled && decide("fix", { edits: edits() }, "fix"),
  cancel,
  next: () => go(Math.min(here + 1, status.slots.length)),
  previous: () => go(here - 1),
  open: () => go(nextOpen(here)),
  help: () => $("help").showModal(),
  tools: () => {
    const tools = $("tools");
    if (tools) tools.open = !tools.open;
  },
  undo: async () => {
    if (mode !== "read") return;
    const { data } = await post("undo");
    if (data.number === null) return say("There is nothing of yours to undo.");
    pages.delete(data.number);
    await go(data.number);
    say("Undone.");
  },
  more: async () => {
    if (here < status.slots.length || !status.more) return;
    const from = status.slots.length;
    pages.clear();
    await post("more");
    await go(from);
  },
  turn_down: () => {
    const { reason, note } = $("reject").elements;
    if (!reason.value) return say("Pick a reason: a number key, or the arrows.", "bad");
    return decide("ruling", { verdict: "reject", reason: reason.value, note: note.value }, "reject");
  },
};

// --- rejecting --------------------------------------------------------------------------------

function openReject() {
  mode = "reject";
  const sheet = $("reject");
  sheet.reset();
  sheet.hidden = false;
  sheet.elements.reason[0].focus();
}

function pickReason(number) {
  const reason = $("reject").elements.reason[number - 1];
  if (!reason) return;
  reason.checked = true;
  reason.focus();
}

$("reject").addEventListener("submit", (event) => {
  event.preventDefault();
  act("turn_down");
});

// --- fixing -----------------------------------------------------------------------------------

let checking = 0;

const areas = () => [...trace.querySelectorAll("textarea.edit")];

function openFix() {
  if (!areas().length) return say("There is nothing here to fix.", "bad");
  mode = "fix";
  for (const area of areas()) {
    area.parentElement.querySelector(".shown").hidden = true;
    area.hidden = false;
    area.addEventListener("input", onEdit);
    fit(area);
  }
  $("actions").hidden = true;
  $("fixing").hidden = false;
  $("fixing").querySelector("[data-do=save]").disabled = true;
  say("Change arguments or words; Tab goes to the next.");
  areas()[0].focus();
}

function fit(area) {
  area.style.height = "auto";
  area.style.height = `${area.scrollHeight + 2}px`;
}

function edits() {
  return areas()
    .filter((area) => area.value !== area.defaultValue)
    .map((area) => ({
      message: Number(area.dataset.message),
      call: area.dataset.call === undefined ? null : Number(area.dataset.call),
      text: area.value,
    }));
}

function onEdit(event) {
  fit(event.target);
  const mine = ++checking;
  $("fixing").querySelector("[data-do=save]").disabled = true;
  setTimeout(async () => {
    if (mine !== checking || mode !== "fix") return;
    const changed = edits();
    if (!changed.length) {
      mark({ problems: [], results: [] });
      return say("Nothing is changed yet.");
    }
    const { ok, data } = await post(`rows/${here}/check`, { edits: changed });
    if (mine !== checking || mode !== "fix") return;
    if (!data.problems) return say(`${data.detail}`, "bad");
    mark(data);
    $("fixing").querySelector("[data-do=save]").disabled = !ok || data.problems.length > 0;
  }, REPEAT_MS);
}

function mark({ problems, results, failure }) {
  for (const area of areas()) {
    const wrong = problems.filter((one) => String(one.message) === area.dataset.message && (one.call === null ? undefined : String(one.call)) === area.dataset.call);
    tell(area, wrong.map((one) => one.text));
  }
  results.forEach(showResult);
  if (problems.length) say(problems.length === 1 ? "One problem." : `${problems.length} problems.`, "bad");
  else if (failure) say(`Valid, yet the filter would drop it: ${failure}`, "warn");
  else if (failure === null) say("Valid. The filter keeps it so.", "approve");
}

function tell(area, texts) {
  let list = area.nextElementSibling;
  if (!list?.matches(".problems")) {
    if (!texts.length) return area.removeAttribute("aria-invalid");
    list = document.createElement("ul");
    list.className = "problems";
    list.id = `problems-${area.dataset.message}-${area.dataset.call ?? "words"}`;
    area.after(list);
    area.setAttribute("aria-describedby", list.id);
  }
  area.setAttribute("aria-invalid", String(texts.length > 0));
  list.replaceChildren(...texts.map((text) => Object.assign(document.createElement("li"), { textContent: text })));
}

function showResult({ at, pieces, failed }) {
  const box = trace.querySelector(`.result[data-message="${at}"]`);
  if (!box) return;
  const text = pieces.map(([, part]) => part).join("");
  const pre = box.querySelector("pre");
  if (pre.textContent !== text) box.classList.add("new");
  box.classList.toggle("failed", failed);
  pre.replaceChildren(
    ...pieces.map(([kind, part]) => {
      if (!kind) return document.createTextNode(part);
      return Object.assign(document.createElement("i"), { className: kind, textContent: part });
    }),
  );
}

function closeMode() {
  checking++;
  mode = "read";
  $("reject").hidden = true;
  $("fixing").hidden = true;
  $("actions").hidden = false;
}

async function cancel() {
  if (mode === "read") return;
  const fixing = mode === "fix";
  closeMode();
  if (fixing) await go(here);
  else trace.focus({ preventScroll: true });
}

// --- drawing ----------------------------------------------------------------------------------

function update(newer) {
  const before = status.slots;
  status = newer;
  newer.slots.forEach((one, row) => {
    if (one.verdict !== before[row]?.verdict) pages.delete(row);
  });
  draw();
}

function say(text, tone = "", hint = "") {
  const line = $("say");
  line.className = `say ${tone}`;
  line.replaceChildren(text);
  if (hint) line.append(" ", Object.assign(document.createElement("span"), { textContent: hint }));
}

const percent = (value) => `${(100 * value).toFixed(1)}%`;

function draw() {
  drawStrip();
  drawAudit();
  const atEnd = here >= status.slots.length;
  for (const name of ["approve", "reject", "fix", "next"]) {
    const theirs = !atEnd && slot().by && slot().by !== status.reviewer;
    $("actions").querySelector(`[data-do=${name}]`).disabled = atEnd || (name !== "next" && theirs);
  }
  $("actions").querySelector("[data-do=previous]").disabled = here === 0;
}

function drawStrip() {
  const strip = $("strip");
  const done = status.slots.filter((one) => one.verdict).length;
  while (strip.children.length < status.slots.length) strip.append(document.createElement("i"));
  status.slots.forEach((one, row) => {
    const held = !one.verdict && one.by && one.by !== status.reviewer;
    strip.children[row].className = `${one.verdict ?? (held ? "held" : "")}${row === here ? " here" : ""}`;
  });
  strip.setAttribute("aria-label", `${done} of ${status.slots.length} reviewed; this is number ${here + 1}`);
  $("done").textContent = done;
  $("of").textContent = ` / ${status.slots.length}`;
}

function drawAudit() {
  const { state, reviewed, wrong, low, high, rate, limit, disputed } = status.audit;
  const NAMES = { none: "not begun", open: "open", passed: "passed", failed: "failed" };
  $("state").textContent = NAMES[state];
  $("state").className = `state ${state}`;
  $("rate").textContent = rate === null ? "\u2013" : percent(rate);
  $("interval").textContent = reviewed ? `${wrong} of ${reviewed} wrong, 95%: ${percent(low)} to ${percent(high)}` : "error rate";
  $("outlook").textContent = status.outlook;
  $("disputed").hidden = !disputed;
  if (disputed) $("disputed").textContent = `Where samples disagree: ${disputed.wrong} of ${disputed.reviewed} wrong, ${disputed.rows} rows in all. They come first and count by their share.`;
  const top = Math.max(4 * limit, Math.min(1, 1.05 * (reviewed < 10 ? rate ?? 0 : high)));
  const x = (value) => `${Math.min(100, (100 * value) / top)}%`;
  const set = (id, values) => Object.entries(values).forEach(([k, v]) => $(id).setAttribute(k, v));
  set("limit", { x1: x(limit), x2: x(limit) });
  set("limit-text", { x: x(limit) });
  set("whisker", { x1: x(low), x2: x(high), visibility: reviewed ? "visible" : "hidden" });
  set("dot", { cx: x(rate ?? 0), visibility: rate === null ? "hidden" : "visible" });
  set("plot", { "aria-label": rate !== null ? `error rate ${percent(rate)}, 95% interval ${percent(low)} to ${percent(high)}, limit ${percent(limit)}` : `limit ${percent(limit)}` });
}

// --- keys and clicks --------------------------------------------------------------------------

const KEYS = {
  a: "approve", r: "reject", e: "fix", u: "undo", j: "next", k: "previous", n: "open", t: "tools", m: "more",
  arrowright: "next", arrowleft: "previous", "?": "help",
};

document.addEventListener("keydown", (event) => {
  if ($("help").open) return;
  const key = event.key.toLowerCase();
  if (key === "escape") return act("cancel");
  if (mode === "fix" && key === "enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    return act("save");
  }
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.matches("textarea, input[type=text]");
  if (mode === "reject" && !typing && /^[1-9]$/.test(key)) {
    event.preventDefault();
    return pickReason(Number(key));
  }
  if (mode !== "read" || typing || !KEYS[key]) return;
  event.preventDefault();
  act(KEYS[key]);
});

document.addEventListener("click", (event) => {
  const name = event.target.closest("[data-do]")?.dataset.do;
  if (name) act(name);
});

$("strip").addEventListener("click", (event) => {
  const row = [...$("strip").children].indexOf(event.target);
  if (row >= 0) act("go", row);
});

const asked = Number(location.hash.slice(1)) - 1;
draw();
act("go", asked >= 0 && asked < status.slots.length ? asked : nextOpen(-1));
