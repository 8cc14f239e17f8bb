// The meters: what the server counted, each with a line of how it went.
import { byId, make, makeSvg, reconcile } from "../../docs/static/dom.js";
import { Metrics } from "./metrics.js";
import { poll } from "./poll.js";

const EVERY = 1000;
const LONGEST = 60;
const [WIDTH, HEIGHT] = [100, 22];

/** Each meter: its name, its value now, and what is drawn: that value ("level") or its growth a second ("rate"). */
const METERS = [
  { name: "sockets", value: (now) => now.sum("peersync_sockets"), draw: "level", also: sockets },
  { name: "handled", value: (now) => now.sum("peersync_events_total", { outcome: "handled" }), draw: "rate" },
  { name: "refused", value: (now) => now.sum("peersync_events_total", { outcome: "refused" }), draw: "rate", isBad: true },
  { name: "delivered", value: (now) => now.sum("peersync_messages_delivered_total"), draw: "rate" },
  { name: "queued", value: (now) => now.sum("peersync_messages_queued_total"), draw: "rate" },
  { name: "dropped", value: (now) => now.sum("peersync_messages_dropped_total"), draw: "rate", isBad: true },
  { name: "resumed", value: (now) => now.sum("peersync_resumes_total", { outcome: "recovered" }), draw: "rate" },
  { name: "loop lag", value: lag, draw: "level", show: (value) => `${(value * 1000).toFixed(1)} ms` },
  { name: "memory", value: (now) => now.sum("process_resident_memory_bytes"), draw: "level", show: mebibytes },
];

export class Meters {
  constructor(now) {
    this._now = now;
    this._before = null;
    this._lines = METERS.map((meter) => new Meter(meter));
    byId("meters").append(...this._lines.map((line) => line.element));
    poll(EVERY, () => this._ask());
  }

  async _ask() {
    try {
      const response = await fetch("metrics");
      if (!response.ok) throw new Error(`HTTP ${response.status}`);
      this._show(new Metrics(await response.text()), this._now());
      byId("counted-problem").textContent = "";
    } catch (error) {
      byId("counted-problem").textContent = `No metrics: ${error.message}`;
    }
  }

  _show(metrics, at) {
    const seconds = this._before ? (at - this._before.at) / 1000 : 0;
    for (const line of this._lines) line.add(metrics, this._before?.metrics ?? null, seconds);
    this._before = { metrics, at };
    this._outcomes(metrics);
    const errors = metrics.samples("peersync_errors_total").filter((each) => each.value > 0);
    byId("errors").replaceChildren(...errors.map(({ labels, value }) => make("code", {}, `${labels.code} × ${value}`)));
    if (errors.length === 0) byId("errors").textContent = "None yet.";
  }

  _outcomes(metrics) {
    const rows = new Map();
    for (const { labels, value } of metrics.samples("peersync_events_total")) {
      if (!rows.has(labels.event)) rows.set(labels.event, { event: labels.event });
      rows.get(labels.event)[labels.outcome] = value;
    }
    const busy = [...rows.values()].filter((row) => row.handled + row.refused + row.failed > 0);
    const body = byId("outcomes").tBodies[0];
    reconcile(body, busy, (row) => row.event, outcome);
    byId("outcomes").hidden = busy.length === 0;
    byId("no-outcomes").hidden = busy.length > 0;
  }
}

/** One meter on the page. */
class Meter {
  constructor(meter) {
    this._meter = meter;
    this._drawn = [];
    this._number = make("b");
    this._also = make("small");
    this._path = makeSvg("path", { d: "" });
    const line = makeSvg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" }, this._path);
    this.element = make("div", { class: "meter", "data-meter": meter.name }, make("dt", {}, meter.name), make("dd", {}, this._number, this._also), make("dd", { class: "line" }, line));
  }

  add(metrics, before, seconds) {
    const { value, draw, show = whole, also, isBad } = this._meter;
    const now = value(metrics, before);
    const growth = before && seconds ? Math.max(0, now - value(before, null)) / seconds : 0;
    this._drawn = [...this._drawn, draw === "rate" ? growth : now].slice(-LONGEST);
    this._number.textContent = show(now);
    this._also.textContent = also ? also(metrics) : draw === "rate" && growth ? `${growth < 10 ? growth.toFixed(1) : whole(growth)}/s` : "";
    this._path.setAttribute("d", lineOf(this._drawn));
    this.element.classList.toggle("bad", Boolean(isBad) && now > 0);
  }
}

/** Returns the path of a line through values, the latest at the right edge, from zero to the largest of them. */
function lineOf(values) {
  const most = Math.max(...values, Number.EPSILON);
  const step = WIDTH / (LONGEST - 1);
  const points = values.map((value, at) => {
    const x = WIDTH - (values.length - 1 - at) * step;
    const y = HEIGHT - 1 - (value / most) * (HEIGHT - 2);
    return `${x.toFixed(1)} ${y.toFixed(1)}`;
  });
  return `M${points.join("L")}`;
}

function sockets(metrics) {
  const states = metrics.samples("peersync_sockets").filter((each) => each.value > 0);
  return states.map(({ labels, value }) => `${value} ${labels.state}`).join(", ");
}

/** Returns how late the server's tick came on average since the last look. */
function lag(now, before) {
  const [sum, count] = ["peersync_loop_lag_seconds_sum", "peersync_loop_lag_seconds_count"].map(
    (name) => now.sum(name) - (before?.sum(name) ?? 0),
  );
  return count > 0 ? sum / count : 0;
}

function outcome({ event, handled, refused, failed }) {
  const count = (value, kind) => make("td", { class: value && kind }, value || "·");
  return make("tr", {}, make("th", { scope: "row" }, event), count(handled, ""), count(refused, "warn"), count(failed, "bad"));
}

const whole = (value) => Math.round(value).toLocaleString("en");

function mebibytes(value) {
  return `${(value / 2 ** 20).toFixed(1)} MiB`;
}
