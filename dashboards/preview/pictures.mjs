// Pictures of dashboards; `dashboards/preview/run` installs what it needs and starts it. `run --help` says how.
import childProcess from 'node:child_process';
import fs from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';
import { parseArgs } from 'node:util';

const HELP = `dashboards/preview/run [OPTION]... [DASHBOARD]...
Draws dashboards, all or those named, such as planet-calls, into DIRECTORY/STATE-DASHBOARD-RANGE-WIDTH.png.

  --state STATE...       calm, incident, quiet, killed, pushed, sick, empty [all]: played data, in a Prometheus that is started for it
  --prometheus URL       a Prometheus that there is, instead; then also:
  --now SECONDS            the time at which somebody looks, since the Unix epoch [now]
  --scrape SECONDS         its scrape interval [30]
  --var NAME=VALUE...      what a variable chooses, such as job=voice
  --range RANGE...       [3h]
  --width PIXELS...      [1440]
  --height PIXELS        [of the whole dashboard]
  --theme dark|light     [dark]
  --grey                 as who sees no colours would see them
  --out DIRECTORY        [target/dashboards]
`;
const STATES = ['calm', 'incident', 'quiet', 'killed', 'pushed', 'sick', 'empty'];
const here = import.meta.dirname;
const root = path.join(here, '../..');
const installed = process.env.PLANET_PREVIEW;
const installedPackage = (name) => createRequire(path.join(installed, 'package.json'))(name);
const several = (...values) => ({ type: 'string', multiple: true, default: values });
const { values: options, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    help: { type: 'boolean' }, state: several(...STATES), prometheus: { type: 'string' }, now: { type: 'string' }, scrape: { type: 'string', default: '30' },
    var: several(), range: several('3h'), width: several('1440'), height: { type: 'string' }, theme: { type: 'string', default: 'dark' }, grey: { type: 'boolean' },
    out: { type: 'string', default: path.join(root, 'target/dashboards') },
  },
});
const names = positionals.length ? positionals : fs.readdirSync(path.join(root, 'dashboards')).filter((file) => file.endsWith('.json')).map((file) => path.basename(file, '.json'));

const started = [];
function start(program, given) {
  const child = childProcess.spawn(program, given, { stdio: 'ignore' });
  started.push(child);
  child.on('error', (error) => fail(`${program}: ${error.message}`));
}
function fail(message) {
  console.error(`dashboards/preview: ${message}`);
  stop();
  process.exit(1);
}
function stop() {
  for (const child of started) child.kill();
}

/** A Prometheus with these blocks, or with nothing. */
async function prometheus(data) {
  const port = await new Promise((resolve) => {
    const probe = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
  fs.mkdirSync(data, { recursive: true });
  const configuration = path.join(data, '../prometheus.yml');
  fs.writeFileSync(configuration, 'global: {scrape_interval: 30s}\n');
  start('prometheus', [`--config.file=${configuration}`, `--storage.tsdb.path=${data}`, '--storage.tsdb.retention.time=100y', `--web.listen-address=127.0.0.1:${port}`]);
  const url = `http://127.0.0.1:${port}`;
  for (let attempt = 0; attempt < 100; attempt++) {
    const answer = await fetch(`${url}/-/ready`).catch(() => undefined);
    if (answer?.ok) return url;
    await new Promise((resolve) => setTimeout(resolve, 200));
  }
  return fail('Prometheus does not get ready');
}

/** Plays hours, or days where they are to be seen, once, and again when play.py has changed. */
function played() {
  const length = options.range.some((range) => /[dw]$/.test(range)) ? ['--hours', '4', '--days', '8'] : ['--hours', '4'];
  const directory = path.join(root, 'target', `dashboards-played${length.join('')}`);
  const player = path.join(here, 'play.py');
  const truth = path.join(directory, 'truth.json');
  if (!fs.existsSync(truth) || fs.statSync(truth).mtimeMs < fs.statSync(player).mtimeMs) {
    console.log(`playing into ${directory}${length.length > 2 ? ', which takes minutes' : ''}`);
    const unfinished = `${directory}.unfinished`;
    fs.rmSync(directory, { recursive: true, force: true });
    fs.rmSync(unfinished, { recursive: true, force: true });
    childProcess.execFileSync('python3', [player, unfinished, ...length], { stdio: 'inherit' });
    const samples = path.join(unfinished, 'played.om');
    childProcess.execFileSync('promtool', ['tsdb', 'create-blocks-from', '--max-block-duration=2000h', 'openmetrics', '-q', samples, path.join(unfinished, 'data')]);
    fs.rmSync(samples);
    fs.renameSync(unfinished, directory);
  }
  return directory;
}

async function page() {
  const dist = path.join(root, 'target/dashboards-page');
  // A package for React's scroll bars asks for what an interop of another bundler gave it.
  const interop = {
    name: 'interop',
    setup(build) {
      const asked = 'react-custom-scrollbars-2';
      build.onResolve({ filter: new RegExp(`^${asked}$`) }, ({ namespace }) => (namespace === 'interop' ? undefined : { path: asked, namespace: 'interop' }));
      build.onLoad({ filter: /.*/, namespace: 'interop' }, () => ({ contents: `import { Scrollbars } from '${asked}'; export default Scrollbars; export { Scrollbars };`, resolveDir: installed }));
    },
  };
  await installedPackage('esbuild').build({
    entryPoints: { page: path.join(here, 'page.jsx') }, bundle: true, outdir: dist, format: 'esm', jsx: 'automatic', nodePaths: [path.join(installed, 'node_modules')], plugins: [interop],
    define: { 'process.env.NODE_ENV': '"production"', global: 'window' }, loader: { '.ttf': 'dataurl', '.svg': 'dataurl', '.png': 'dataurl', '.woff': 'dataurl', '.woff2': 'dataurl' }, logLevel: 'error',
  });
  const html = '<!doctype html><meta charset="utf-8"><title>Dashboard</title><style>body{margin:0;font:14px Inter,sans-serif}</style><link rel="stylesheet" href="page.css"><div id="root"></div><script>window.__grafana_public_path__="/"</script><script type="module" src="page.js"></script>\n';
  const types = { '.css': 'text/css', '.js': 'text/javascript', '.json': 'application/json' };
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://localhost');
    if (pathname === '/') return response.writeHead(200, { 'content-type': 'text/html' }).end(html);
    const file = path.join(pathname.endsWith('.json') ? path.join(root, 'dashboards') : dist, path.basename(pathname));
    if (!fs.existsSync(file)) return response.writeHead(404).end();
    response.writeHead(200, { 'content-type': types[path.extname(file)] ?? 'application/octet-stream' });
    fs.createReadStream(file).pipe(response);
  });
  await new Promise((listening) => server.listen(0, '127.0.0.1', listening));
  return server;
}

async function picture(browser, server, { state, name, range, width, prometheus, now, variables }) {
  const view = await browser.newPage({ viewport: { width: Number(width), height: 900 }, timezoneId: 'UTC' });
  const errors = [];
  view.on('pageerror', (error) => errors.push(String(error)));
  const query = new URLSearchParams({ dashboard: `/${name}.json`, prometheus, now, range, scrape: options.scrape, theme: options.theme, ...variables });
  await view.goto(`http://127.0.0.1:${server.address().port}/?${query}`);
  await view.waitForFunction(() => window.shown?.done >= window.shown?.wanted, null, { timeout: 120_000 }).catch(() => errors.push('not every panel was drawn'));
  const height = options.height ? Number(options.height) : await view.evaluate(() => document.documentElement.scrollHeight);
  await view.setViewportSize({ width: Number(width), height });
  await view.waitForTimeout(500);
  if (options.grey) await view.addStyleTag({ content: 'html { filter: grayscale(1) }' });
  const file = path.join(options.out, `${state}-${name}-${range}-${width}${options.grey ? '-grey' : ''}.png`);
  await view.screenshot({ path: file });
  errors.push(...(await view.evaluate(() => window.shown?.errors ?? [])));
  await view.close();
  console.log(`${file}${errors.length ? `: ${errors.join('; ')}` : ''}`);
  return errors.length === 0;
}

if (options.help) {
  console.log(HELP);
  process.exit(0);
}
process.on('exit', stop);
fs.mkdirSync(options.out, { recursive: true });
const views = [];
if (options.prometheus) {
  const variables = Object.fromEntries(options.var.map((each) => [`var-${each.split('=')[0]}`, each.split(/=(.*)/s)[1]]));
  views.push({ state: 'given', prometheus: options.prometheus, now: options.now ?? Math.floor(Date.now() / 1000), variables });
} else {
  const directory = played();
  const { now } = JSON.parse(fs.readFileSync(path.join(directory, 'truth.json')));
  const [full, empty] = [await prometheus(path.join(directory, 'data')), await prometheus(path.join(directory, 'nothing/data'))];
  for (const state of options.state) {
    views.push(state === 'empty' ? { state, prometheus: empty, now, variables: {} } : { state, prometheus: full, now, variables: { 'var-job': state } });
  }
}
const server = await page();
const browser = await installedPackage('playwright-core').chromium.launch({ executablePath: process.env.PLANET_PREVIEW_CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox', '--disable-gpu'] });
let isWell = true;
for (const view of views) for (const name of names) for (const range of options.range) for (const width of options.width) isWell = (await picture(browser, server, { ...view, name, range, width })) && isWell;
await browser.close();
server.close();
process.exit(isWell ? 0 : 1);
