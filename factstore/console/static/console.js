// The script of the console: moving through time, live pages, and completion. Pages work without it, at one moment.
const root = document.body.dataset.root;
const $ = (selector, within = document) => within.querySelector(selector);
let asked = 0;

// Replace the page by the one at an address; the newest request wins.
async function show(address, { push = false, quiet = false } = {}) {
  const mine = ++asked;
  const response = await fetch(address, { headers: { accept: "text/html" } }).catch(() => null);
  if (mine !== asked || !response) return;
  if (response.status === 401) return location.reload();
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (mine !== asked) return;
  const focused = document.activeElement?.id;
  for (const id of ["places", "content"]) $("#" + id).replaceWith($("#" + id, page));
  document.title = page.title;
  slider.update($("#time", page));
  refreshLater();
  if (push) history.pushState(null, "", address); else history.replaceState(null, "", address);
  if (focused && focused !== "content") document.getElementById(focused)?.focus({ preventScroll: true });
  if (!quiet) $("#status").textContent = slider.text(slider.t);
}

function at(t, from) {
  const url = new URL(location.href);
  for (const [name, value] of [["t", t], ["from", from]])
    if (value === "") url.searchParams.delete(name); else url.searchParams.set(name, value);
  return url.pathname + url.search + url.hash;
}

// The slider: its left end is t = 0, its right end the newest transaction, which means live.
class TimeSlider extends HTMLElement {
  connectedCallback() {
    this.track = $(".track", this);
    this.span = this.track.appendChild(document.createElement("div"));
    this.span.className = "span";
    this.handles = ["from", "t"].map((name) => this.handle(name));
    this.says = this.appendChild(document.createElement("div"));
    this.says.className = "says";
    this.track.addEventListener("pointerdown", (event) => this.grab(event));
    this.update(this);
  }
  handle(name) {
    const handle = this.track.appendChild(document.createElement("button"));
    Object.assign(handle, { type: "button", className: "handle " + name, id: "handle-" + name });
    handle.setAttribute("role", "slider");
    handle.setAttribute("aria-label", name === "t" ? "Moment of the page" : "Changes since");
    handle.addEventListener("keydown", (event) => this.key(event, name));
    return handle;
  }
  update(from) {
    for (const name of Object.keys(from.dataset)) this.dataset[name] = from.dataset[name];
    $("svg", this).replaceWith($("svg", from).cloneNode(true));
    const { newest, first, last, edges } = this.dataset;
    Object.assign(this, { newest: +newest, first: +first, last: +last, edges: JSON.parse(edges) });
    this.t = this.dataset.t === "" ? this.newest : Math.min(+this.dataset.t, this.newest);
    this.from = this.dataset.from === "" ? 0 : Math.min(+this.dataset.from, this.t);
    this.isLive = this.dataset.t === "";
    this.draw();
  }
  place(t) { // the fraction of the track
    const { edges } = this, steps = edges.length - 1;
    if (t >= this.newest) return 1;
    if (t <= 0) return 0;
    const i = edges.findIndex((edge) => edge >= t);
    return (i - 1 + (t - edges[i - 1]) / (edges[i] - edges[i - 1])) / steps;
  }
  tAt(fraction) {
    const { edges } = this, steps = edges.length - 1, x = Math.min(Math.max(fraction, 0), 1) * steps;
    const i = Math.min(Math.floor(x), steps - 1);
    return Math.round(edges[i] + (x - i) * (edges[i + 1] - edges[i]));
  }
  text(t) {
    if (t >= this.newest && this.isLive) return "live, t " + t;
    if (t <= 0) return "the beginning";
    const when = new Date(this.first + this.place(t) * (this.last - this.first));
    return `t ${t}, about ${when.toISOString().slice(0, 19).replace("T", " ")}`;
  }
  draw() {
    [this.from, this.t].forEach((t, i) => {
      const handle = this.handles[i];
      handle.style.left = this.place(t) * 100 + "%";
      handle.setAttribute("aria-valuemin", 0);
      handle.setAttribute("aria-valuemax", this.newest);
      handle.setAttribute("aria-valuenow", t);
      handle.setAttribute("aria-valuetext", this.text(t));
    });
    this.span.style.left = this.place(this.from) * 100 + "%";
    this.span.style.right = (1 - this.place(this.t)) * 100 + "%";
    const now = document.createElement("span"), since = document.createElement("span");
    since.textContent = this.from ? "changes since " + this.text(this.from) : "since the beginning";
    if (this.isLive) Object.assign(now, { className: "live", textContent: `live · t ${this.newest}` });
    else {
      const back = Object.assign(document.createElement("button"), { type: "button", textContent: "live", id: "to-live" });
      back.addEventListener("click", () => this.move("t", this.newest, true));
      now.append(Object.assign(document.createElement("b"), { textContent: this.text(this.t) }), " · back to ", back);
    }
    this.says.replaceChildren(since, now);
  }
  move(name, t, push) {
    t = Math.min(Math.max(t, 0), this.newest);
    if (name === "t") { this.t = t; this.from = Math.min(this.from, t); this.isLive = t >= this.newest; }
    else this.from = Math.min(t, this.t);
    this.draw();
    clearTimeout(this.waiting);
    const address = at(this.isLive ? "" : this.t, this.from || "");
    this.waiting = setTimeout(() => show(address, { push }), push ? 0 : 80);
  }
  grab(event) {
    event.preventDefault();
    const box = this.track.getBoundingClientRect(), x = (each) => (each.clientX - box.left) / box.width;
    const isFrom = event.target === this.handles[0] ||
      (event.target !== this.handles[1] && Math.abs(x(event) - this.place(this.from)) < Math.abs(x(event) - this.place(this.t)));
    const name = isFrom ? "from" : "t", moved = (each) => this.move(name, this.tAt(x(each)), false);
    this.handles[isFrom ? 0 : 1].focus();
    this.track.setPointerCapture(event.pointerId);
    this.track.addEventListener("pointermove", moved);
    this.track.addEventListener("pointerup", (end) => {
      this.track.removeEventListener("pointermove", moved);
      this.move(name, this.tAt(x(end)), true);
    }, { once: true });
  }
  key(event, name) {
    const page = Math.max(1, Math.round(this.newest / 20)), now = this[name];
    const to = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1,
      PageDown: now - page, PageUp: now + page, Home: 0, End: this.newest }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    this.move(name, to, true);
  }
}
customElements.define("time-slider", TimeSlider);
const slider = $("#time");
addEventListener("popstate", () => show(location.href));

// Live: one stream of events while the page is visible. A page that a person is typing into is left alone.
let stream = null;
function listen() {
  stream?.close();
  if (document.hidden) return;
  stream = new EventSource(root + "/live");
  stream.addEventListener("commit", (event) => {
    if (+event.data <= slider.newest) return;
    refresh();
  });
}
function refresh() {
  const busy = $("#content").contains(document.activeElement) && document.activeElement.matches("input, textarea, select");
  if ("live" in $("#content").dataset && slider.isLive && !busy && !document.hidden) show(location.href, { quiet: true });
}
// Some pages are out of date at a known time: a lease ends, a job is due.
let later = null;
function refreshLater() {
  clearTimeout(later);
  const { again } = $("#content").dataset;
  if (again !== undefined) later = setTimeout(refresh, Math.min(Math.max(+again, 200), 3600000));
}
document.addEventListener("visibilitychange", listen);
listen();
refreshLater();
