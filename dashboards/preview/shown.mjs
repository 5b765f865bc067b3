// What a panel shows: its queries, and the frames that Grafana makes of the answers, with units, mappings, thresholds and transformations.
//
// Runs in the browser, which draws the frames, and in node, which only reads their text. `grafana` is the module @grafana/data.
// It follows Grafana's Prometheus data source where that is not in a package: the step, $__rate_interval, the columns of tables.

const WORD = /\$\{?(__\w+|\w+)(?::(\w+))?\}?/g;
// What Grafana's core gives to every panel, and panels of a kind.
const STANDARD = ['unit', 'min', 'max', 'decimals', 'displayName', 'color', 'thresholds', 'mappings', 'links', 'noValue', 'description'];
const GRAPH = {
  drawStyle: 'line', lineInterpolation: 'linear', barAlignment: 0, barWidthFactor: 0.6, lineWidth: 1, fillOpacity: 0, gradientMode: 'none', spanNulls: false,
  insertNulls: false, showPoints: 'auto', pointSize: 5, stacking: { mode: 'none', group: 'A' }, axisPlacement: 'auto', axisLabel: '', axisColorMode: 'text',
  axisBorderShow: false, scaleDistribution: { type: 'linear' }, axisCenteredZero: false, hideFrom: { tooltip: false, viz: false, legend: false },
  thresholdsStyle: { mode: 'off' },
};
const TABLE = { align: 'auto', cellOptions: { type: 'auto' }, inspect: false };
const MORE = ['lineStyle', 'width', 'filterable', 'axisSoftMin', 'axisSoftMax', 'fillBelowTo', 'transform'];

/** Makes the transformations known, once. */
export function register(grafana) {
  const known = new Map(Object.values(grafana.standardTransformers).map((each) => [each.id, each]));
  grafana.standardTransformersRegistry.setInit(() => [...known.values()].map((each) => ({ id: each.id, name: each.name, transformation: each })));
}

export class Preview {
  /** `prometheus` is its URL, `now` in seconds; `range` and `scrape`, the interval, in seconds. */
  constructor(grafana, { prometheus, now, range, scrape = 30, theme = 'dark' }) {
    Object.assign(this, { grafana, prometheus, now, range, scrape, variables: {} });
    this.theme = grafana.createTheme({ colors: { mode: theme } });
    const property = (path, isCustom) => ({ id: isCustom ? `custom.${path}` : path, path, isCustom, name: path, process: (value) => value, shouldApply: () => true });
    const custom = [...new Set([...Object.keys(GRAPH), ...Object.keys(TABLE), ...MORE])];
    this.registry = new grafana.Registry(() => [...STANDARD.map((path) => property(path, false)), ...custom.map((path) => property(path, true))]);
  }

  async ask(path, parameters) {
    const response = await fetch(`${this.prometheus}/api/v1/${path}`, { method: 'POST', body: new URLSearchParams(parameters) });
    const answer = await response.json();
    if (answer.status !== 'success') throw new Error(answer.error);
    return answer.data;
  }

  /** Chooses a value of each variable of the dashboard: what is asked for, all, or the first. */
  async choose(dashboard, asked = {}) {
    for (const variable of dashboard.templating.list) {
      const { name, type } = variable;
      const choice = { label: variable.label ?? name, isHidden: variable.hide === 2 };
      this.variables[name] = choice;
      if (type === 'datasource') Object.assign(choice, { values: [variable.query], text: variable.query });
      else if (type === 'interval') {
        const { calculateInterval } = this.grafana.rangeUtil;
        const { interval } = calculateInterval(this.timeRange(), variable.auto_count, variable.auto_min);
        Object.assign(choice, { values: [asked[name] ?? interval], text: asked[name] ?? `auto (${interval})` });
      } else {
        const [, selector, label] = this.filled(variable.query.query).match(/^label_values\((.*),\s*(\w+)\)$/s);
        const series = await this.ask('series', { 'match[]': selector, start: this.now - this.range, end: this.now });
        const found = [...new Set(series.map((labels) => labels[label]).filter(Boolean))].sort();
        const wanted = asked[name]?.split(',');
        const all = variable.includeAll ? { values: [variable.allValue], text: 'All', options: found } : { values: found.slice(0, 1), text: found[0] ?? '', options: found };
        Object.assign(choice, wanted ? { values: wanted, text: wanted.join(' + '), options: wanted } : all);
      }
    }
  }

  filled(text, more = {}) {
    return text.replace(WORD, (whole, name) => {
      const values = more[name] ?? this.variables[name]?.values;
      return !values ? whole : values.length === 1 ? values[0] : `(${values.join('|')})`;
    });
  }

  timeRange() {
    const [from, to] = [this.now - this.range, this.now].map((seconds) => this.grafana.dateTime(seconds * 1000));
    return { from, to, raw: { from, to } };
  }

  /** The step and $__rate_interval in seconds of a target of a panel that is so many pixels wide. */
  intervals(target, width) {
    const { rangeUtil } = this.grafana;
    const least = target.interval ? rangeUtil.intervalToSeconds(this.filled(target.interval)) : this.scrape;
    const { intervalMs } = rangeUtil.calculateInterval(this.timeRange(), Math.max(50, Math.round(width)), `${least}s`);
    const step = Math.max(Math.round(intervalMs / 1000), least);
    return { step, rate: Math.max(step + this.scrape, 4 * this.scrape) };
  }

  async answers(target, width, scoped) {
    const { step, rate } = this.intervals(target, width);
    const query = this.filled(target.expr, { ...scoped, __rate_interval: [`${rate}s`], __interval: [`${step}s`], __range: [`${this.range}s`] });
    if (target.instant) return { query, step, series: (await this.ask('query', { query, time: this.now })).result };
    const [start, end] = [this.now - this.range, this.now].map((seconds) => Math.floor(seconds / step) * step);
    return { query, step, start, end, series: (await this.ask('query_range', { query, start, end, step })).result };
  }

  /** Frames of the panel, ready to be drawn: `scoped` are variables that a repeated row sets. */
  async frames(panel, width, scoped = {}) {
    const answers = await Promise.all(panel.targets.map((target) => this.answers(target, width, scoped)));
    const answered = answers.filter(({ series }) => series.length > 0).length;
    const frames = panel.targets.flatMap((target, number) => this.framesOf(target, answers[number], answered));
    const transformed = panel.transformations?.length && frames.length ? await this.transformed(frames, panel.transformations) : frames;
    const shown = this.withOptions(panel, transformed);
    return { frames: panel.type === 'table' ? shown.map((frame) => this.sorted(panel, frame)) : shown, queries: answers.map(({ query }) => query) };
  }

  framesOf(target, answer, answered) {
    const { grafana } = this;
    if (target.format === 'table') {
      if (!answer.series.length) return [];
      const names = [...new Set(answer.series.flatMap(({ metric }) => Object.keys(metric)))].sort();
      const column = (name, type, values) => ({ name, type, values, config: {} });
      return [grafana.toDataFrame({ refId: target.refId, fields: [
        column('Time', 'time', answer.series.map(({ value }) => value[0] * 1000)),
        ...names.map((name) => column(name, 'string', answer.series.map(({ metric }) => metric[name] ?? ''))),
        column(answered > 1 ? `Value #${target.refId}` : 'Value', 'number', answer.series.map(({ value }) => number(value[1]))),
      ] })];
    }
    const count = Math.floor((answer.end - answer.start) / answer.step) + 1;
    return answer.series.flatMap((series) => (series.histograms ? classic(series) : [series])).map(({ metric, value, values }) => {
      const times = value ? [value[0]] : Array.from({ length: count }, (_, index) => answer.start + index * answer.step);
      const at = new Map((values ?? [value]).map(([time, text]) => [time, number(text)]));
      const legend = target.legendFormat === '__auto' ? '' : target.legendFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => metric[label] ?? '');
      return grafana.toDataFrame({ refId: target.refId, name: legend || undefined, fields: [
        { name: 'Time', type: 'time', values: times.map((time) => time * 1000), config: { interval: answer.step * 1000 } },
        { name: 'Value', type: 'number', values: times.map((time) => at.get(time) ?? null), labels: metric, config: legend ? { displayNameFromDS: legend } : {} },
      ] });
    });
  }

  transformed(frames, transformations) {
    return new Promise((resolve, reject) => {
      const result = this.grafana.transformDataFrame(transformations, frames, { interpolate: (text) => this.filled(text) });
      result.subscribe({ next: resolve, error: reject });
    });
  }

  fieldConfig(panel) {
    const config = structuredClone(panel.fieldConfig);
    config.defaults.custom = { ...(panel.type === 'table' ? TABLE : GRAPH), ...config.defaults.custom };
    config.defaults.thresholds ??= { mode: 'absolute', steps: [{ value: null, color: 'text' }] };
    // JSON has no infinity.
    for (const step of config.defaults.thresholds.steps) step.value ??= -Infinity;
    return config;
  }

  withOptions(panel, frames) {
    return this.grafana.applyFieldOverrides({
      data: frames, fieldConfig: this.fieldConfig(panel), fieldConfigRegistry: this.registry, replaceVariables: (text) => this.filled(text), theme: this.theme, timeZone: 'utc',
    });
  }

  /** The table in the order of its first column to sort by that it has; Grafana's table heeds one. */
  sorted(panel, frame) {
    const name = (field) => this.grafana.getFieldDisplayName(field, frame);
    const by = panel.options.sortBy?.[0];
    const index = by ? frame.fields.findIndex((field) => name(field) === by.displayName) : -1;
    return index < 0 ? frame : this.grafana.sortDataFrame(frame, index, by.desc);
  }

  /** The values of a stat, or of its empty state. */
  values(panel, frames) {
    return this.grafana.getFieldDisplayValues({
      data: frames, fieldConfig: this.fieldConfig(panel), reduceOptions: { values: false, fields: '', ...panel.options.reduceOptions },
      replaceVariables: (text) => this.filled(text), sparkline: false, theme: this.theme, timeZone: 'utc',
    });
  }

  /** What a stat or a table shows, as text. A stat: a text, or texts by name. A table: a list of texts by column, or what it says when it is empty. */
  async text(panel, width = 600, scoped = {}) {
    const { formattedValueToString, getFieldDisplayName } = this.grafana;
    const { frames } = await this.frames(panel, width, scoped);
    if (panel.type === 'stat') {
      const values = this.values(panel, frames).map(({ display }) => [display.title, formattedValueToString(display)]);
      return values.length === 1 ? values[0][1] : Object.fromEntries(values);
    }
    const [frame] = frames;
    if (!frame?.length) return panel.fieldConfig.defaults.noValue ?? 'No data';
    const columns = frame.fields.filter((field) => !field.config.custom?.hidden);
    return Array.from({ length: frame.length }, (_, row) =>
      Object.fromEntries(columns.map((field) => [getFieldDisplayName(field, frame), formattedValueToString(field.display(field.values[row]))])));
  }

  /** When alerts were firing, as annotations have it: a list of {title, from, to} in milliseconds. */
  async annotations(dashboard) {
    const found = [];
    for (const annotation of dashboard.annotations.list.filter(({ expr, enable }) => expr && enable)) {
      const step = Math.max(60, this.intervals({}, 1000).step);
      const { result } = await this.ask('query_range', { query: this.filled(annotation.expr), start: this.now - this.range, end: this.now, step });
      for (const { metric, values } of result) {
        const title = annotation.titleFormat.replace(/\{\{\s*(\w+)\s*\}\}/g, (_, label) => metric[label] ?? '');
        for (const [time] of values) {
          const last = found.at(-1);
          if (last?.title === title && time * 1000 - last.to <= step * 1000) last.to = time * 1000;
          else found.push({ title, color: annotation.iconColor, from: time * 1000, to: time * 1000 });
        }
      }
    }
    return found;
  }
}

/** Panels with what a repeated row sets for them, and where they stand then. */
export function placed(dashboard, variables) {
  const groups = [{ row: undefined, panels: [] }];
  for (const panel of dashboard.panels) {
    if (panel.type === 'row') groups.push({ row: panel, panels: [panel] });
    else groups.at(-1).panels.push(panel);
  }
  const moved = (panel, down, scoped) => ({ panel: { ...panel, gridPos: { ...panel.gridPos, y: panel.gridPos.y + down } }, scoped });
  let shift = 0;
  return groups.flatMap(({ row, panels }) => {
    if (!row?.repeat) return panels.map((panel) => moved(panel, shift, {}));
    const height = Math.max(...panels.map(({ gridPos }) => gridPos.y + gridPos.h)) - row.gridPos.y;
    const values = variables[row.repeat].options;
    const all = values.flatMap((value, index) => panels.map((panel) => moved(panel, shift + index * height, { [row.repeat]: [value] })));
    shift += (values.length - 1) * height;
    return all;
  });
}

/** A native histogram as a classic one: a series for each upper bound, with the label le. */
function classic({ metric, histograms }) {
  const bounds = new Map();
  for (const [, { buckets = [] }] of histograms) for (const [, , upper] of buckets) bounds.set(number(upper), upper);
  return [...bounds.entries()].sort(([one], [other]) => one - other).map(([bound, le]) => ({
    metric: { ...metric, le },
    values: histograms.map(([time, { buckets = [] }]) => [time, String(buckets.filter(([, , upper]) => number(upper) <= bound).reduce((sum, [, , , count]) => sum + Number(count), 0))]),
  }));
}

function number(text) {
  return { NaN: NaN, '+Inf': Infinity, '-Inf': -Infinity }[text] ?? Number(text);
}
