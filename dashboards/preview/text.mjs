// What every stat and table of the dashboards shows as text, as JSON by service, dashboard and panel:
// node text.mjs --modules DIRECTORY --prometheus URL --now SECONDS --job SERVICE... [--range 1h] [--scrape 30] DASHBOARD.json...
// Needs @grafana/data in DIRECTORY/node_modules, and no browser.
import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { Preview, placed, register } from './shown.mjs';

const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    modules: { type: 'string' }, prometheus: { type: 'string' }, now: { type: 'string' }, range: { type: 'string', default: '1h' }, scrape: { type: 'string', default: '30' },
    job: { type: 'string', multiple: true },
  },
});
// The package asks a browser for little: the language, and how long text is.
globalThis.window ??= globalThis;
globalThis.navigator ??= { languages: ['en-GB'], language: 'en-GB' };
const grafana = createRequire(path.resolve(options.modules, 'package.json'))('@grafana/data');
register(grafana);

async function texts(dashboard, job) {
  const preview = new Preview(grafana, { prometheus: options.prometheus, now: Number(options.now), range: grafana.rangeUtil.intervalToSeconds(options.range), scrape: Number(options.scrape) });
  await preview.choose(dashboard, { job });
  const found = {};
  for (const { panel, scoped } of placed(dashboard, preview.variables)) {
    if (panel.type !== 'stat' && panel.type !== 'table') continue;
    found[[...Object.values(scoped).flat(), panel.title].join(': ')] = await preview.text(panel, 600, scoped);
  }
  return found;
}

const shown = {};
for (const job of options.job) {
  shown[job] = {};
  for (const file of positionals) {
    const dashboard = JSON.parse(fs.readFileSync(file));
    shown[job][dashboard.uid] = await texts(dashboard, job);
  }
}
console.log(JSON.stringify(shown, null, 1));
