// Goes from the status to a call and its report with clicks alone, as people do: node look_back.mjs URL DIRECTORY_OF_PICTURES
// A complaint of the browser, as of a violated policy, ends it with 1.
import path from "node:path";
import { createRequire } from "node:module";

const { chromium } = createRequire(path.join(process.env.PLANET_TEST_BROWSER, "package.json"))("playwright-core");
const [, , url, pictures] = process.argv;
const chromiumOfDebian = "/usr/bin/chromium";
const browser = await chromium.launch({ executablePath: chromiumOfDebian, args: ["--no-sandbox"] });
const complaints = [];

for (const [device, options] of Object.entries({
  wide: { viewport: { width: 1280, height: 900 } },
  phone: { viewport: { width: 360, height: 640 }, colorScheme: "dark" },
})) {
  const page = await (await browser.newContext({ ...options, javaScriptEnabled: device === "wide" })).newPage();
  page.on("console", (message) => message.type() === "error" && complaints.push(`${device}: ${message.text()}`));
  page.on("pageerror", (error) => complaints.push(`${device}: ${error.message}`));
  await page.goto(url);
  for (const [name, link] of [
    ["why", 'a[href^="why"]'],
    ["calls", 'a[href^="calls?failing=1&reason="]'],
    ["call", 'a[href^="calls?sid="]'],
  ]) {
    await page.locator(link).first().click();
    await page.waitForLoadState();
    await page.screenshot({ path: path.join(pictures, `${name}-${device}.png`), fullPage: true });
    const [width, all] = await page.evaluate(() => [innerWidth, document.documentElement.scrollWidth]);
    if (all > width) {
      complaints.push(`${name}: a ${device} screen has to scroll it sideways`);
    }
  }
  const drawn = await page.locator("svg.course rect").count();
  if (drawn !== 2) {
    complaints.push(`the course of the call has ${drawn} parts`);
  }
}
await browser.close();
complaints.forEach((complaint) => console.error(complaint));
process.exit(complaints.length === 0 ? 0 : 1);
