// The console: puts its parts together.
import { Composer } from "./composer.js";
import { fetchContract } from "./contract.js";
import { byId } from "../../docs/static/dom.js";
import { Ids } from "./ids.js";
import { listenForKeys } from "./keys.js";
import { Latency } from "./latency.js";
import { Meters } from "./meters.js";
import { Overview } from "./overview.js";
import { Peer } from "./peer.js";
import { Seat } from "./seat.js";
import { Timeline } from "./timeline.js";

const now = () => performance.now();

async function start() {
  const contract = await fetchContract();
  const ids = new Ids();
  const latency = new Latency();
  const peers = ["A", "B"].map((name) => new Peer(name, now, contract.closes));
  const seats = peers.map((peer, number) => new Seat(peer, ["carol", "dave"][number], contract.socketUrl()));
  const composer = new Composer(contract, peers, ids);
  const timeline = new Timeline((peer, text, event) => composer.edit(peer, text, event));
  const overview = new Overview(ids, (id) => composer.aimAt(id));
  new Meters(now);
  const takeFrame = () => composer.open(handedOver(location.hash));
  addEventListener("hashchange", takeFrame);
  takeFrame();
  for (const peer of peers) follow(peer, { ids, latency, composer, timeline });
  const seat = () => seats[peers.indexOf(composer.speaker)];
  listenForKeys({
    1: () => composer.speakAs(0),
    2: () => composer.speakAs(1),
    c: () => composer.speaker.isAway && seat().connect(),
    d: () => seat().drop(),
    r: () => seat().resume(),
    e: () => byId("event").focus(),
    j: () => composer.focus(),
    t: () => timeline.focus(),
    p: () => overview.focus(),
  });
}

function follow(peer, { ids, latency, composer, timeline }) {
  peer.addEventListener("frame", ({ detail }) => {
    const { direction, frame, at } = detail;
    if (direction === "out") latency.sent(peer, frame, at);
    const how = direction === "in" ? latency.received(peer, frame, at) : null;
    timeline.addFrame(peer, detail, how);
    if (direction === "in") {
      ids.watch(frame);
      composer.answered(peer, frame, how);
    }
  });
  peer.addEventListener("note", ({ detail }) => timeline.addNote(peer, detail));
  peer.addEventListener("change", () => composer.refresh());
}

/** Returns the frame that a link hands over, as /docs does with its examples; null if it hands over none. */
function handedOver(hash) {
  try {
    return JSON.parse(decodeURIComponent(/^#frame=(.*)$/s.exec(hash)[1]));
  } catch {
    return null;
  }
}

start().catch((error) => {
  byId("node").textContent = `The console cannot start: ${error.message}`;
  byId("node").classList.add("bad");
});
