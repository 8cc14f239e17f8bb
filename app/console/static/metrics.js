// Metrics: Prometheus's text, read.

const LINE = /^([a-z_:][\w:]*)(?:\{(.*)\})? (\S+)/i;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

export class Metrics {
  constructor(text) {
    this._samples = new Map();
    for (const line of text.split("\n")) {
      const match = LINE.exec(line);
      if (match) this._add(match[1], match[2] ?? "", Number(match[3]));
    }
  }

  /** Returns the sum of a metric's samples, of those with these labels. */
  sum(name, labels = {}) {
    const wanted = Object.entries(labels);
    const samples = this.samples(name).filter((each) => wanted.every(([label, value]) => each.labels[label] === value));
    return samples.reduce((sum, each) => sum + each.value, 0);
  }

  /** Returns a metric's samples, [{labels, value}]. */
  samples(name) {
    return this._samples.get(name) ?? [];
  }

  _add(name, labels, value) {
    const read = Object.fromEntries([...labels.matchAll(LABEL)].map((match) => [match[1], match[2]]));
    this._samples.set(name, [...this.samples(name), { labels: read, value }]);
  }
}
