"use strict";
const IDLE = 30000;  // ms without any input after which time no longer counts
const $ = id => document.getElementById(id);
const TOKEN = new URLSearchParams(location.search).get("token") || "";
const CHOICES = {
  rating: [[1, "1", ""], [2, "2", ""], [3, "3", ""], [4, "4", ""], [5, "5", ""]],
  yesno: [[1, "Y", "Yes"], [0, "N", "No"]],
  pairs: [[1, "\u2190", "First"], [0.5, "0", "Equal"], [0, "\u2192", "Second"]],
}[SETTINGS.question];
const KEYS = {y: 1, n: 0, ArrowLeft: 1, ArrowRight: 0, 0: 0.5, "=": 0.5};
const saved = name => { try { return localStorage.getItem(name); } catch { return null; } };
const save = (name, value) => { try { localStorage.setItem(name, value); } catch { /* private window */ } };

// Seconds that somebody looked at the question: hidden and idle time are left out.
const clock = {
  total: 0, since: null, touched: 0,
  start() { this.total = 0; this.since = null; this.touch(); },
  touch() {
    const now = performance.now();
    this.settle(now);
    this.touched = now;
    if (!document.hidden) this.since = now;
  },
  settle(now) {
    if (this.since !== null) this.total += Math.max(0, Math.min(now, this.touched + IDLE) - this.since);
    this.since = null;
  },
  pause() { this.settle(performance.now()); },
  read() { this.touch(); return this.total / 1000; },
};
for (const name of ["pointermove", "pointerdown", "keydown", "wheel", "touchstart", "scroll"])
  addEventListener(name, () => clock.touch(), {passive: true, capture: true});
document.addEventListener("visibilitychange", () => document.hidden ? clock.pause() : clock.touch());

let me = null, ticket = null, busy = false, pictures = [];

async function call(path, body) {
  const response = await fetch("api/" + path, {
    method: "POST", headers: {"Content-Type": "application/json", "X-Token": TOKEN}, body: JSON.stringify(body),
  });
  const told = await response.json().catch(() => ({error: `the server answered ${response.status}`}));
  if (!response.ok) throw Object.assign(new Error(told.error), {status: response.status});
  return told;
}

// What is sent twice counts once, by its ticket; so wait and try again until the server is back.
async function surely(path, body) {
  for (let wait = 300; ; wait = Math.min(wait * 1.6, 5000)) {
    try {
      const told = await call(path, body);
      say("");
      return told;
    } catch (problem) {
      if (problem.status && problem.status !== 503) throw problem;
      const why = problem.status === 503 ? `${problem.message}.` : "No connection.";
      say(`${why} Your answer is kept here and sent again\u2026`);
      await new Promise(resolve => setTimeout(resolve, wait));
    }
  }
}

function say(text) { $("message").textContent = text; }

async function act(path, body) {
  if (busy || !me) return;
  busy = true;
  clock.pause();
  for (const button of document.querySelectorAll("#ask button, #done button")) button.disabled = true;
  try {
    await show(await surely(path, {...me, ...body}));
  } catch (problem) {
    say(problem.message);
    if (problem.status === 401) ask_name();
    else if (problem.status === 404) { busy = false; return act("next", {}); }
  } finally {
    busy = false;
    for (const button of document.querySelectorAll("#ask button, #done button")) button.disabled = false;
  }
}

function answer(value, button) {
  if (busy || !ticket) return;
  const seconds = clock.read();
  if (button) button.classList.add("sent");
  act("answer", {ticket, value, seconds});
}

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

async function picture(item) {
  const response = await fetch(`api/image/${item}`, {headers: {"X-Token": TOKEN}});
  if (!response.ok) throw new Error((await response.json()).error);
  const image = element("img");
  image.src = URL.createObjectURL(await response.blob());
  pictures.push(image.src);
  await image.decode().catch(() => { throw new Error(`the image of item ${item} is damaged`); });
  if (image.naturalWidth < 200) image.classList.add("small");
  return image;
}

async function card(about, place, of) {
  const made = element("article", "card");
  made.setAttribute("aria-label", of === 1 ? "Sample" : place ? "Second sample" : "First sample");
  if (about.kind === "image") {
    try {
      const image = await picture(about.item);
      image.alt = of === 1 ? "The sample to rate" : `The ${place ? "second" : "first"} sample`;
      made.append(image);
    } catch (problem) {
      made.append(element("p", "text", `${problem.message}. Please skip it.`));
    }
  } else if (about.kind === "text") {
    const text = element("div", "text", about.text);
    text.tabIndex = 0;
    made.append(text);
  } else {
    const list = element("dl");
    list.tabIndex = 0;
    for (const [name, value] of about.row) list.append(element("dt", "", name), element("dd", "", value));
    made.append(list);
  }
  if (about.label !== undefined) {
    const given = element("div", "given", "Label ");
    given.append(element("b", "", about.label));
    made.append(given);
  }
  return made;
}

async function show(told) {
  const old = pictures;
  pictures = [];
  ticket = null;
  const cards = told.ticket === null ? [] :
    await Promise.all(told.items.map((about, place) => card(about, place, told.items.length)));
  $("items").replaceChildren(...cards);
  $("items").classList.toggle("two", cards.length === 2);
  old.forEach(URL.revokeObjectURL);
  for (const button of document.querySelectorAll(".sent")) button.classList.remove("sent");
  $("join").hidden = true;
  $("bar").hidden = $("foot").hidden = false;
  $("ask").hidden = told.ticket === null;
  $("done").hidden = told.ticket !== null;
  counts(told.progress);
  ticket = told.ticket;
  document.body.dataset.ticket = ticket === null ? "done" : ticket;
  clock.start();
}

function counts(p) {
  $("count").textContent = `${p.done.toLocaleString("en")} of ${p.total.toLocaleString("en")} answers`;
  $("who").textContent = me.name;
  const share = Math.min(100, Math.round(100 * p.done / p.total));
  $("filled").style.width = `${share}%`;
  $("meter").setAttribute("aria-valuenow", share);
  const told = [`${p.mine} by you in ${p.minutes < 10 ? p.minutes.toFixed(1) : Math.round(p.minutes)} min`];
  if (p.people > 1) told.push(`${p.people} people`);
  if (p.agreement !== null) told.push(`agreement ${p.agreement.toFixed(2)}`);
  if (p.retest !== null) told.push(`repeats equal ${Math.round(100 * p.retest.equal)} %`);
  $("stats").textContent = told.join("  \u00b7  ");
}

function ask_name() {
  me = null;
  for (const id of ["ask", "done", "bar", "foot"]) $(id).hidden = true;
  $("join").hidden = false;
  $("name").focus();
}

async function join(name, secret) {
  try {
    me = await surely("join", {name, ...(secret ? {secret} : {})});
    save("hitl-fast-name", me.name);
    save(`hitl-fast-secret-${me.name}`, me.secret);
    await act("next", {});
  } catch (problem) {
    ask_name();
    say(problem.message);
  }
}

for (const [value, key, text] of CHOICES) {
  const button = element("button", SETTINGS.question === "rating" ? "digits" : "", text || key);
  button.type = "button";
  if (text) button.append(element("kbd", "", key));
  button.dataset.value = value;
  button.addEventListener("click", () => answer(value, button));
  $("choices").append(button);
}
if (SETTINGS.question === "rating")
  $("ends").append(element("span", "", "not at all"), element("span", "", "very"));
else $("ends").remove();
$("skip").addEventListener("click", () => answer(null));
$("undo").addEventListener("click", () => act("undo", {}));
$("undo2").addEventListener("click", () => act("undo", {}));
$("join").addEventListener("submit", event => {
  event.preventDefault();
  const name = $("name").value.trim().replace(/\s+/g, " ");
  if (name) join(name, saved(`hitl-fast-secret-${name}`));
});
document.addEventListener("keydown", event => {
  if (event.repeat || event.altKey || event.metaKey || !me || event.target.tagName === "INPUT") return;
  const undo = event.ctrlKey ? event.key === "z" : event.key.toLowerCase() === "u" || event.key === "Backspace";
  if (event.ctrlKey && !undo) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const values = CHOICES.map(choice => choice[0]);
  const value = SETTINGS.question === "rating" ? Number(key) || undefined : KEYS[key];
  if (undo) act("undo", {});
  else if (key === "s") answer(null);
  else if (values.includes(value)) answer(value, $("choices").children[values.indexOf(value)]);
  else return;
  event.preventDefault();
});

const known = saved("hitl-fast-name");
if (known && saved(`hitl-fast-secret-${known}`)) join(known, saved(`hitl-fast-secret-${known}`));
else ask_name();
