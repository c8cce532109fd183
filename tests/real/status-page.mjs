// The status page in a headless Chromium, as people use it. Says in a line of JSON when a step is done,
// and goes on when its standard input says so. At the end it says what it found.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const { url, silent, shots, browser: executablePath } = JSON.parse(process.argv[2]);
const require = createRequire(import.meta.url);
const axe = await readFile(require.resolve("axe-core/axe.min.js"), "utf8");
const said = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const faults = [];
const expect = (holds, what) => { if (!holds) faults.push(what); };
const step = async (name) => { console.log(JSON.stringify({ step: name })); await said.next(); };

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
process.on("exit", () => browser.close());

async function open(settings, at = url) {
  const context = await browser.newContext(settings);
  const page = await context.newPage();
  page.setDefaultTimeout(20_000);
  // Of what is not answered browsers tell by themselves.
  page.on("console", (message) => { if (message.type() === "error" && at === url) faults.push(`console: ${message.text()}`); });
  page.on("pageerror", (error) => faults.push(`script: ${error}`));
  page.asked = [];
  page.on("request", (request) => {
    expect(new URL(request.url()).origin === at, `asks ${request.url()}`);
    page.asked.push(new URL(request.url()).pathname);
  });
  await page.goto(at);
  return page;
}

// What runs on the page only by its policy cannot be added to it: axe runs in a world of its own.
async function violations(page, name) {
  const session = await page.context().newCDPSession(page);
  const { frameTree } = await session.send("Page.getFrameTree");
  const { executionContextId: contextId } = await session.send("Page.createIsolatedWorld", { frameId: frameTree.frame.id });
  const run = (expression) => session.send("Runtime.evaluate", { expression, contextId, awaitPromise: true, returnByValue: true });
  await run(axe);
  const { result } = await run("axe.run(document).then((found) => found.violations.map((of) => of.id + ': ' + of.nodes[0].html))");
  expect(Array.isArray(result.value), `${name}: axe says ${JSON.stringify(result)}`);
  for (const violation of result.value ?? []) faults.push(`${name}: ${violation}`);
}

const fact = (page, term) => page.locator(".card div", { has: page.locator(`dt:text-is("${term}")`) }).locator("dd");
const shot = (page, name, clip) => page.screenshot({ path: `${shots}/${name}.png`, fullPage: true, clip });

// In light.
const page = await open({ colorScheme: "light", viewport: { width: 1100, height: 800 } });
await page.locator(".card.good h3", { hasText: "envase" }).first().waitFor();
const left = await fact(page, "ends in").first().textContent();
await page.waitForFunction((left) => document.querySelector(".card dd").textContent !== left, left);
expect(page.asked[0] === "/" && !page.asked.some((path) => !["/", "/api/events"].includes(path)), `asks ${page.asked}`);
await violations(page, "light");
await shot(page, "light");
await page.locator("summary").click();
await page.locator("pre", { hasText: "client_secret = \"•••\"" }).waitFor();
await violations(page, "configuration");
await shot(page, "configuration");
// It stays open while the rest of the page goes on.
for (let looks = 0; looks < 2; looks++) await page.waitForResponse(`${url}/`);
expect(await page.locator("pre").isVisible(), "the configuration has folded up");
await page.locator("summary").click();
await step("light");

// By the keyboard alone.
const button = page.getByRole("button", { name: "Refresh now envase" });
for (let steps = 0; steps < 20 && !(await button.evaluate((of) => of === document.activeElement)); steps++) {
  await page.keyboard.press("Tab");
}
expect(await button.evaluate((of) => of === document.activeElement), "no way to the button by the keyboard");
await page.keyboard.press("Enter");
await fact(page, "tokens so far").first().filter({ hasText: "2" }).waitFor();
await page.locator(".events li", { hasText: "an operator asks for a new token" }).waitFor();
expect(page.url() === `${url}/`, `left for ${page.url()}`);
await page.waitForFunction(() => document.activeElement.closest("form"), null, { timeout: 5_000 })
  .catch(() => faults.push("the button that was pressed has lost the focus"));

// In dark, on a phone, and without scripts.
const dark = await open({ colorScheme: "dark", viewport: { width: 1100, height: 800 } });
await violations(dark, "dark");
await shot(dark, "dark");
for (const colorScheme of ["light", "dark"]) {
  const phone = await open({ viewport: { width: 360, height: 740 }, isMobile: true, colorScheme });
  await violations(phone, `phone ${colorScheme}`);
  const width = await phone.evaluate(() => document.documentElement.scrollWidth);
  expect(width <= 360, `${width} wide on a phone`);
  await shot(phone, `phone-${colorScheme}`);
  await phone.context().close();
}
const bare = await open({ javaScriptEnabled: false });
const text = await bare.textContent("body");
for (const word of ["✓ ready", "✓ fresh", "ends in", "2xx", "new token", "version"]) {
  expect(text.includes(word), `nothing of ${word} without scripts`);
}
await bare.getByRole("button", { name: "Refresh now envase" }).click();
await bare.waitForURL(`${url}/`);

// A page of somebody else's, in the same browser.
const stranger = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<title>x</title>"));
await new Promise((resolve) => stranger.listen(0, "127.0.0.1", resolve));
const other = await (await browser.newContext()).newPage();
await other.goto(`http://localhost:${stranger.address().port}/`);
const refused = other.waitForEvent("response", (response) => response.request().method() === "POST");
await other.evaluate((to) => fetch(to, { method: "POST", mode: "no-cors" }).then(() => {}, () => {}), `${url}/api/credentials/envase/refresh`);
expect((await refused).status() === 403, `a stranger's order is answered with ${(await refused).status()}`);
const overheard = await other.evaluate((from) => new Promise((resolve) => {
  const source = new EventSource(from);
  source.onopen = () => resolve("hears the events");
  source.onerror = () => { source.close(); resolve(null); };
}), `${url}/api/events`);
expect(overheard === null, `a stranger ${overheard}`);
stranger.close();
await step("looked");

// The provider refuses, and the page is told at once.
await page.locator(".card.doubtful .error", { hasText: "check client_id" }).waitFor();
await page.locator(".events .doubtful").first().waitFor();
await violations(page, "outage");
await shot(page, "outage");
// Stands in the README, as docs/status-page.png.
await page.evaluate(() => document.activeElement.blur());
await shot(page, "readme", { x: 0, y: 0, width: 1100, height: 1000 });
await step("outage");

const size = (await (await fetch(url)).arrayBuffer()).byteLength;

// Where nothing can be heard the page asks by itself, and says when there is no answer.
const deaf = await open({}, silent);
while (deaf.asked.filter((path) => path === "/").length < 3) await deaf.waitForRequest(`${silent}/`);
await deaf.locator("#state", { hasText: "✓ ready" }).waitFor();
await step("deaf");
await deaf.locator("#state", { hasText: "does not answer" }).waitFor();
const seen = page.asked.filter((path) => path === "/api/events").length;
expect(seen === 1, `${seen} connections for events`);
console.log(JSON.stringify({ faults, size }));
await browser.close();
process.exit(0);
