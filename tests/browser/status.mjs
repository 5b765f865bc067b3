// Looks at a status page as people do, and says on standard output how far it is: node status.mjs URL DIRECTORY_OF_PICTURES
// Whoever started it does what is to be seen then. A complaint of the browser, as of a violated policy, ends it with 1.
import path from "node:path";
import { createRequire } from "node:module";

const { chromium } = createRequire(path.join(process.env.PLANET_TEST_BROWSER, "package.json"))("playwright-core");
const [, , url, pictures] = process.argv;
const chromiumOfDebian = "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath: chromiumOfDebian, args: ["--no-sandbox"] });
const complaints = [];

async function open(name, options) {
  const page = await (await browser.newContext(options)).newPage();
  page.on("console", (message) => message.type() === "error" && complaints.push(`${name}: ${message.text()}`));
  page.on("pageerror", (error) => complaints.push(`${name}: ${error.message}`));
  await page.goto(url);
  await page.screenshot({ path: path.join(pictures, `${name}.png`), fullPage: true });
  return page;
}

function expect(holds, what) {
  if (!holds) {
    complaints.push(what);
  }
}

const wide = { width: 1280, height: 900 };
const page = await open("light", { viewport: wide, colorScheme: "light" });
const dark = await open("dark", { viewport: wide, colorScheme: "dark" });
const background = (of) => of.evaluate(() => getComputedStyle(document.body).backgroundColor);
expect((await background(page)) !== (await background(dark)), "it is as light in the dark");
const phone = await open("phone", { viewport: { width: 360, height: 640 } });
expect(await phone.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "a phone has to scroll it sideways");
const plain = await open("without-javascript", { viewport: wide, javaScriptEnabled: false });
expect((await plain.textContent("main")).includes("No call event has come yet."), "it is empty without JavaScript");
for (const section of await page.locator("section").all()) {
  expect(await section.getAttribute("aria-label"), "a section has no name for a screen reader");
}

// Were it loaded anew, this would be gone.
await page.evaluate(() => { globalThis.isTheSame = true; });
console.log("opened");
await page.waitForFunction(() => document.body.innerText.includes(": 1, the latest"), null, { timeout: 60000 });
expect(await page.evaluate(() => globalThis.isTheSame), "it was loaded anew");
await page.screenshot({ path: path.join(pictures, "refreshed.png"), fullPage: true });
expect(complaints.length === 0, "see above");
console.log("refreshed");
await page.waitForFunction(() => document.body.innerText.includes("does not answer any more"), null, { timeout: 60000 });
console.log("stale");
await browser.close();

// That the exporter does not answer any more, the browser complains of as well.
const others = complaints.filter((complaint) => !complaint.includes("ERR_CONNECTION_REFUSED"));
others.forEach((complaint) => console.error(complaint));
process.exit(others.length === 0 ? 0 : 1);
