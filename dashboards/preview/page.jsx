// Draws a dashboard in the browser with Grafana's own components, of a Prometheus. What has no component in a package, heat maps, state timelines and
// annotations, is drawn here, and only resembles Grafana's. The address says what is drawn: see pictures.mjs.
import { useEffect, useLayoutEffect, useRef, useState } from 'react';
import { createRoot } from 'react-dom/client';
import * as grafana from '@grafana/data';
import { BigValue, GlobalStyles, PanelChrome, Table, ThemeContext, TimeSeries, VizRepeater } from '@grafana/ui';
import { Preview, placed, register } from './shown.mjs';

register(grafana);
const asked = new URLSearchParams(location.search);
const preview = new Preview(grafana, {
  prometheus: asked.get('prometheus'), now: Number(asked.get('now')), range: grafana.rangeUtil.intervalToSeconds(asked.get('range')),
  scrape: Number(asked.get('scrape')), theme: asked.get('theme'),
});
const { theme } = preview;
const [MARGIN, GAP, ROW] = [16, 8, 38];
const COLUMN = (window.innerWidth - 2 * MARGIN + GAP) / 24;
const colour = (name) => theme.visualization.getColorByName(name);
window.shown = { done: 0, errors: [] };

function Nothing({ text, height }) {
  return <div style={{ height, display: 'flex', alignItems: 'center', justifyContent: 'center', color: theme.colors.text.secondary }}>{text ?? 'No data'}</div>;
}

function Stat({ panel, frames, width, height }) {
  const values = preview.values(panel, frames);
  const { colorMode, textMode, orientation = 'auto' } = panel.options;
  const value = ({ value, width, height, count }) => (
    <BigValue value={value.display} count={count} colorMode={colorMode} graphMode="none" justifyMode="auto" textMode={textMode ?? 'auto'} text={panel.options.text} width={width} height={height} theme={theme} wideLayout />
  );
  return <VizRepeater getValues={() => values} source={values} renderValue={value} renderCounter={0} width={width} height={height} autoGrid itemSpacing={3} orientation={orientation} />;
}

/** When alerts fired: a band over the graph, as Grafana draws annotations. */
function Annotations({ builder, annotations }) {
  useLayoutEffect(() => {
    builder.addHook('draw', (plot) => {
      const { ctx, bbox } = plot;
      for (const { from, to, color } of annotations) {
        const [left, right] = [from, to].map((time) => Math.min(Math.max(plot.valToPos(time, 'x', true), bbox.left), bbox.left + bbox.width));
        ctx.save();
        ctx.fillStyle = ctx.strokeStyle = colour(color);
        ctx.globalAlpha = 0.12;
        ctx.fillRect(left, bbox.top, right - left, bbox.height);
        ctx.globalAlpha = 1;
        ctx.setLineDash([4, 3]);
        ctx.strokeRect(left, bbox.top, 0, bbox.height);
        ctx.fillRect(left, bbox.top + bbox.height, Math.max(right - left, 4), 4);
        ctx.restore();
      }
    });
  }, [builder]);
  return null;
}

function Graph({ panel, frames, width, height, annotations }) {
  return (
    <TimeSeries frames={frames} structureRev={1} timeRange={preview.timeRange()} timeZone="utc" width={width} height={height} legend={{ showLegend: true, calcs: [], ...panel.options.legend }} options={panel.options}>
      {(builder) => <Annotations builder={builder} annotations={annotations} />}
    </TimeSeries>
  );
}

/** Something drawn by hand over the time that is shown, with names on the left. */
function Rows({ width, height, rows, draw, step }) {
  const canvas = useRef();
  useLayoutEffect(() => {
    const context = canvas.current.getContext('2d');
    Object.assign(canvas.current, { width, height });
    context.font = '12px Inter, sans-serif';
    const names = rows.map(({ name }) => name);
    const left = 12 + Math.max(...names.map((name) => context.measureText(name).width));
    const [bottom, top] = [22, 4];
    const x = (time) => left + ((time / 1000 - preview.now + preview.range) / preview.range) * (width - left - 8);
    const each = (height - bottom - top) / rows.length;
    context.textBaseline = 'middle';
    rows.forEach((row, index) => {
      const y = top + index * each;
      context.fillStyle = theme.colors.text.primary;
      context.textAlign = 'right';
      if (index % Math.ceil(13 / each) === 0) context.fillText(row.name, left - 8, y + each / 2);
      draw(context, row, { x, y, height: each });
    });
    context.fillStyle = theme.colors.text.primary;
    context.textAlign = 'center';
    for (let part = 0; part <= 4; part++) {
      const time = preview.now - preview.range + (preview.range * part) / 4;
      const text = grafana.dateTimeFormat(time * 1000, { timeZone: 'utc', format: preview.range > 86400 ? 'MM/DD' : 'HH:mm' });
      context.fillText(text, Math.min(x(time * 1000), width - 18), height - 9);
    }
  }, [width, height]);
  return <canvas ref={canvas} style={{ width, height }} data-step={step} />;
}

/** Fields of values with the times, step and name of each. */
function fieldsOf(frames) {
  return frames.flatMap((frame) => frame.fields.slice(1).map((field) => ({
    name: grafana.getFieldDisplayName(field, frame, frames), field, times: frame.fields[0].values, step: frame.fields[0].config.interval,
  })));
}

function StateTimeline({ frames, width, height }) {
  const draw = (context, { field, times, step }, { x, y, height }) => {
    let from = 0;
    for (let index = 1; index <= times.length; index++) {
      if (index < times.length && field.values[index] === field.values[from]) continue;
      const display = field.display(field.values[from]);
      if (field.values[from] !== null) {
        const [left, right] = [x(times[from]), Math.min(x(times[index - 1] + step), width)];
        context.fillStyle = display.color;
        context.fillRect(left, y + 2, Math.max(right - left, 1), height - 4);
        context.fillStyle = theme.colors.getContrastText(display.color);
        context.textAlign = 'left';
        if (context.measureText(display.text).width + 8 < right - left) context.fillText(display.text, left + 4, y + height / 2);
      }
      from = index;
    }
  };
  return <Rows rows={fieldsOf(frames)} draw={draw} width={width} height={height} />;
}

function HeatMap({ panel, frames, width, height }) {
  const unit = grafana.getValueFormat(panel.options.yAxis.unit);
  const buckets = fieldsOf(frames).map((each) => ({ ...each, bound: Number(each.field.labels.le.replace('+Inf', 'Infinity')) })).sort((one, other) => one.bound - other.bound);
  const inBucket = buckets.map(({ field }, index) => field.values.map((value, at) => Math.max(0, (value ?? 0) - (index ? buckets[index - 1].field.values[at] ?? 0 : 0))));
  const most = Math.max(...inBucket.flat(), 1e-9);
  const rows = buckets.map((each, index) => ({ ...each, numbers: inBucket[index], name: Number.isFinite(each.bound) ? grafana.formattedValueToString(unit(each.bound)) : 'more' })).reverse();
  const draw = (context, { numbers, times, step }, { x, y, height }) => {
    numbers.forEach((number, at) => {
      if (!number) return;
      context.fillStyle = theme.colors.text.primary;
      context.globalAlpha = Math.sqrt(number / most);
      context.fillRect(x(times[at]), y + 0.5, Math.max(x(times[at] + step) - x(times[at]) - 1, 1), height - 1);
      context.globalAlpha = 1;
    });
  };
  return <Rows rows={rows} draw={draw} width={width} height={height} />;
}

const DRAWN = { timeseries: Graph, heatmap: HeatMap, 'state-timeline': StateTimeline };

function Body({ panel, frames, width, height, annotations }) {
  if (panel.type === 'stat') return <Stat {...{ panel, frames, width, height }} />;
  if (!frames.some(({ length }) => length > 0)) return <Nothing text={panel.fieldConfig.defaults.noValue} height={height} />;
  if (panel.type === 'table') {
    return <Table data={frames[0]} width={width} height={height} columnMinWidth={50} showTypeIcons={false} resizable initialSortBy={panel.options.sortBy} cellHeight={panel.options.cellHeight} />;
  }
  const Drawn = DRAWN[panel.type];
  return <Drawn {...{ panel, frames, width, height, annotations }} />;
}

function Panel({ panel, scoped, annotations }) {
  const { x, y, w, h } = panel.gridPos;
  const [width, height] = [w * COLUMN - GAP, h * ROW - GAP];
  const [frames, setFrames] = useState();
  useEffect(() => {
    const loaded = panel.type === 'row' ? Promise.resolve() : preview.frames(panel, width - 16, scoped).then((answer) => setFrames(answer.frames));
    loaded.catch((error) => window.shown.errors.push(`${panel.title}: ${error}`)).finally(() => window.shown.done++);
  }, []);
  const place = { position: 'absolute', left: x * COLUMN, top: y * ROW, width, height };
  const title = preview.filled(panel.title, scoped);
  if (panel.type === 'row') return <div style={{ ...place, fontWeight: 500, lineHeight: '30px' }}>⌄ {title}</div>;
  return (
    <div style={place}>
      <PanelChrome title={title} description={panel.description} width={width} height={height} padding="sm">
        {(width, height) => frames && <Body {...{ panel, frames, width, height, annotations }} />}
      </PanelChrome>
    </div>
  );
}

function Dashboard({ dashboard, annotations }) {
  const panels = placed(dashboard, preview.variables);
  const height = Math.max(...panels.map(({ panel: { gridPos } }) => (gridPos.y + gridPos.h) * ROW));
  const chip = { border: `1px solid ${theme.colors.border.medium}`, borderRadius: 2, padding: '4px 8px', background: theme.components.input.background };
  const time = (seconds) => grafana.dateTimeFormat(seconds * 1000, { timeZone: 'utc' });
  window.shown.wanted = panels.length;
  return (
    <div style={{ padding: MARGIN, background: theme.colors.background.canvas, minHeight: '100vh' }}>
      <div style={{ display: 'flex', justifyContent: 'space-between', marginBottom: 8 }}>
        <b>{dashboard.title}</b>
        <span>{time(preview.now - preview.range)} to {time(preview.now)} UTC</span>
      </div>
      <div style={{ display: 'flex', gap: 8, marginBottom: 12, fontSize: 12, alignItems: 'center' }}>
        {Object.entries(preview.variables).filter(([, { isHidden }]) => !isHidden).map(([name, { label, text }]) => (
          <span key={name}><span style={{ color: theme.colors.text.secondary, marginRight: 4 }}>{label}</span><span style={chip}>{text} ▾</span></span>
        ))}
      </div>
      <div style={{ position: 'relative', height }}>
        {panels.map(({ panel, scoped }, index) => <Panel key={index} {...{ panel, scoped, annotations }} />)}
      </div>
    </div>
  );
}

const dashboard = await (await fetch(asked.get('dashboard'))).json();
await preview.choose(dashboard, Object.fromEntries([...asked].filter(([name]) => name.startsWith('var-')).map(([name, value]) => [name.slice(4), value])));
const annotations = await preview.annotations(dashboard);
createRoot(document.getElementById('root')).render(
  <ThemeContext.Provider value={theme}><GlobalStyles /><Dashboard dashboard={dashboard} annotations={annotations} /></ThemeContext.Provider>,
);
