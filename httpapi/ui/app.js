// The dashboard: asks the API with the key that the user typed in and shows
// what comes back. The key is kept in sessionStorage, for this tab only.
// Everything from the API is put in as text, never as HTML.
"use strict";

const KEY = "grantd.key";
const PERIOD = 5000; // ms between two refreshes
const $ = (id) => document.getElementById(id);
const view = { cursor: "", next: "", account: "", run: 0, busy: false };

// ---- asking ----

class ApiError extends Error {
  constructor(status, problem) {
    super(problem.detail || "HTTP " + status);
    this.status = status;
  }
}

async function get(path, query = {}) {
  const search = new URLSearchParams(Object.entries(query).filter(([, value]) => value !== ""));
  const response = await fetch(path + (search.size ? "?" + search : ""), {
    headers: { Authorization: "Bearer " + sessionStorage.getItem(KEY) },
    cache: "no-store",
    signal: AbortSignal.timeout(10000),
  });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, body);
  return body;
}

// part asks for one section and draws it. A section that the key may not see,
// or that fails, says so in its note and leaves the others alone. It returns
// whether all that the key may see is shown.
async function part(name, ask, draw) {
  const run = view.run;
  const note = $(name + "-note");
  try {
    const answer = await ask();
    if (run !== view.run) return; // something else was asked for meanwhile
    draw(answer);
    note.hidden = true;
    return true;
  } catch (error) {
    if (run !== view.run) return;
    if (error.status === 401) throw error;
    const hidden = error.status === 403;
    note.textContent = hidden ? "This key may not see this." : "Not up to date: " + error.message;
    note.hidden = false;
    return hidden;
  }
}

// ---- drawing ----

function element(tag, text = "", className = "") {
  const e = document.createElement(tag);
  e.textContent = text;
  e.className = className;
  return e;
}

function cell(content, className = "") {
  const td = element("td", "", className);
  td.append(content);
  return td;
}

const LOOKS = {
  active: "good", alive: "good", ok: "good",
  pending: "warn", suspect: "warn", joining: "warn", leaving: "warn",
  needs_reauth: "bad", misconfigured: "bad", dead: "bad", none: "bad",
};

const mark = (state) => element("span", state.replace("_", " "), "mark " + (LOOKS[state] || ""));

const relative = new Intl.RelativeTimeFormat("en", { numeric: "auto" });

function time(value) {
  if (!value) return document.createTextNode("–");
  const then = new Date(value);
  const seconds = (then - Date.now()) / 1000;
  const [size, unit] = [[86400, "day"], [3600, "hour"], [60, "minute"], [1, "second"]].find(([s]) => Math.abs(seconds) >= s) || [1, "second"];
  const e = element("time", relative.format(Math.round(seconds / size), unit));
  e.dateTime = value;
  e.title = then.toLocaleString();
  return e;
}

function rows(id, items, columns, draw) {
  const list = items.map((item) => {
    const tr = element("tr");
    tr.append(...draw(item));
    return tr;
  });
  if (list.length === 0) {
    const none = cell("Nothing here", "empty");
    none.colSpan = columns;
    list.push(element("tr"));
    list[0].append(none);
  }
  $(id).replaceChildren(...list);
}

function heading(content) {
  const th = element("th");
  th.scope = "row";
  th.append(content);
  return th;
}

function drawCluster({ nodes, shards }) {
  rows("nodes", nodes, 6, (node) => [
    heading(node.id), cell(mark(node.state)), cell(String(node.shards_owned), "number"),
    cell(String(shards.filter((s) => s.replicas.includes(node.id)).length), "number"), cell(node.addr), cell(node.version),
  ]);
  rows("shards", shards, 4, (s) => [
    heading(String(s.id)), cell(s.owner || mark("none")), cell(String(s.term), "number"), cell(s.replicas.join(" ")),
  ]);
  const ownerless = shards.filter((s) => !s.owner).length;
  $("shards-count").textContent = ownerless ? `${ownerless} of ${shards.length} have no owner` : String(shards.length);
  $("shards-count").className = ownerless ? "mark bad" : "mark";
}

function drawIntegrations(list) {
  rows("integrations", list.integrations, 5, (i) => [
    heading(i.id), cell(i.provider), cell(mark(i.state)), cell(i.reason, "wide"), cell(time(i.updated_at)),
  ]);
}

// drawAccounts keeps the focus where it was: the table is drawn anew every
// few seconds, and keyboards must not be thrown out of it.
function drawAccounts(list) {
  const focused = document.activeElement?.dataset?.account;
  rows("accounts", list.accounts, 8, (a) => [
    heading(accountButton(a)), cell(a.integration), cell(mark(a.state)), cell(time(a.expires_at)),
    cell(time(a.next_refresh_at)), cell(String(a.generation), "number"), cell(String(a.failures), "number"), cell(a.reason),
  ]);
  if (focused) $("accounts").querySelector(`[data-account="${CSS.escape(focused)}"]`)?.focus();
  view.next = list.next_cursor;
  $("next").disabled = !view.next;
  $("first").disabled = !view.cursor;
}

function accountButton(a) {
  const name = a.tenant + "/" + a.id;
  const button = element("button", name, "link");
  button.type = "button";
  button.dataset.account = name;
  button.title = "Show the history of " + name;
  button.addEventListener("click", () => openHistory(name));
  return button;
}

function drawHistory(page) {
  rows("history", page.history, 6, (line) => [
    cell(time(line.at)), cell(line.what.replaceAll("_", " ")), cell(line.reason), cell(line.detail, "wide"),
    cell(String(line.generation), "number"), cell(line.node),
  ]);
}

// ---- going on ----

async function refresh() {
  const run = ++view.run;
  view.busy = true;
  const parts = [
    part("nodes", () => get("/v1/cluster"), drawCluster),
    part("integrations", () => get("/v1/integrations", { limit: 1000 }), drawIntegrations),
    part("accounts", () => get("/v1/accounts", {
      limit: 100, cursor: view.cursor, tenant: $("tenant").value.trim(), state: $("state").value,
    }), drawAccounts),
  ];
  if (view.account) parts.push(part("history", () => get(`/v1/accounts/${view.account}/history`, { limit: 100 }), drawHistory));
  try {
    const shown = await Promise.all(parts);
    if (run !== view.run) return;
    if (shown.every(Boolean)) say("Up to date at " + new Date().toLocaleTimeString());
    else say("Not up to date", true);
  } catch (error) {
    signOut(error.message);
  } finally {
    if (run === view.run) view.busy = false;
  }
}

// say changes the status only when its words change, so that a screen reader
// is not told the time every few seconds.
function say(text, bad = false) {
  const status = $("status");
  status.setAttribute("aria-live", bad ? "assertive" : "off");
  status.textContent = text;
  status.classList.toggle("bad", bad);
}

function openHistory(account) {
  view.account = account;
  $("history-title").textContent = "History of " + account;
  $("history").replaceChildren();
  $("history-section").hidden = false;
  $("history-title").focus();
  refresh();
}

function closeHistory() {
  view.account = "";
  $("history-section").hidden = true;
}

function showBoard(signedIn) {
  $("signin").hidden = signedIn;
  $("board").hidden = !signedIn;
  $("controls").hidden = !signedIn;
}

function signOut(why) {
  view.run++;
  view.busy = false;
  sessionStorage.removeItem(KEY);
  closeHistory();
  $("filters").reset();
  for (const id of ["nodes", "shards", "shards-count", "integrations", "accounts", "history"]) $(id).replaceChildren();
  showBoard(false);
  say(why || "Not signed in", Boolean(why));
  $("key").focus();
}

function toPage(cursor) {
  view.cursor = cursor;
  refresh();
}

$("keyform").addEventListener("submit", (event) => {
  event.preventDefault();
  const key = $("key").value.trim();
  $("key").value = "";
  if (!/^[!-~]+$/.test(key)) {
    signOut("This cannot be an API key: keys are ASCII letters, digits and signs, without spaces.");
    return;
  }
  sessionStorage.setItem(KEY, key);
  view.cursor = "";
  showBoard(true);
  refresh();
});
$("filters").addEventListener("submit", (event) => {
  event.preventDefault();
  toPage("");
});
$("signout").addEventListener("click", () => signOut());
$("first").addEventListener("click", () => toPage(""));
$("next").addEventListener("click", () => toPage(view.next));
$("history-close").addEventListener("click", closeHistory);

setInterval(() => {
  if (sessionStorage.getItem(KEY) && $("auto").checked && !view.busy && !document.hidden) refresh();
}, PERIOD);

if (sessionStorage.getItem(KEY)) {
  showBoard(true);
  refresh();
}
