// The status page in a headless Chromium, as people use it. Begins with a good token; says in a line of
// JSON that the page has been looked at, waits until its standard input says that the provider refuses,
// and says in another line what it found.
import { createServer } from "node:http";
import { createInterface } from "node:readline";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { chromium } from "playwright-core";

const { url, shots, browser: executablePath } = JSON.parse(process.argv[2]);
const require = createRequire(import.meta.url);
const axe = await readFile(require.resolve("axe-core/axe.min.js"), "utf8");
const said = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const say = (words) => console.log(JSON.stringify(words));
const faults = [];
const expect = (holds, what) => { if (!holds) faults.push(what); };

const browser = await chromium.launch({ executablePath, args: ["--no-sandbox"] });
process.on("exit", () => browser.close());

async function open(settings) {
  const context = await browser.newContext(settings);
  const page = await context.newPage();
  page.on("console", (message) => { if (message.type() === "error") faults.push(`console: ${message.text()}`); });
  page.on("pageerror", (error) => faults.push(`script: ${error}`));
  page.on("request", (request) => expect(new URL(request.url()).origin === url, `asks ${request.url()}`));
  await page.goto(url);
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

const entry = (page, term) => page.locator(".card div", { has: page.locator(`dt:text-is("${term}")`) }).locator("dd");

const page = await open({ colorScheme: "light", viewport: { width: 1100, height: 760 } });
await page.locator(".card.good h3", { hasText: "envase" }).waitFor();
const left = await entry(page, "ends in").textContent();
await page.waitForFunction((left) => document.querySelector(".card dd").textContent !== left, left);
await violations(page, "light");
await page.screenshot({ path: `${shots}/light.png` });

// By the keyboard alone.
const button = page.getByRole("button", { name: "Refresh now" });
for (let steps = 0; steps < 10 && !(await button.evaluate((of) => of === document.activeElement)); steps++) {
  await page.keyboard.press("Tab");
}
expect(await button.evaluate((of) => of === document.activeElement), "no way to the button by the keyboard");
await page.keyboard.press("Enter");
await entry(page, "tokens so far").filter({ hasText: "2" }).waitFor();
expect(page.url() === `${url}/`, `left for ${page.url()}`);

const dark = await open({ colorScheme: "dark", viewport: { width: 1100, height: 760 } });
await violations(dark, "dark");
await dark.screenshot({ path: `${shots}/dark.png` });
const phone = await open({ viewport: { width: 360, height: 740 }, isMobile: true });
await violations(phone, "phone");
const width = await phone.evaluate(() => document.documentElement.scrollWidth);
expect(width <= 360, `${width} wide on a phone`);
await phone.screenshot({ path: `${shots}/phone.png` });
const bare = await open({ javaScriptEnabled: false });
for (const word of ["✓ fresh", "ends in", "2xx"]) {
  expect((await bare.textContent("main")).includes(word), `nothing of ${word} without scripts`);
}
const size = (await (await fetch(url)).arrayBuffer()).byteLength;

// A page of somebody else's, in the same browser.
const stranger = createServer((_, answer) => answer.setHeader("content-type", "text/html").end("<title>x</title>"));
await new Promise((resolve) => stranger.listen(0, "127.0.0.1", resolve));
const other = await (await browser.newContext()).newPage();
await other.goto(`http://localhost:${stranger.address().port}/`);
const refused = other.waitForEvent("response", (response) => response.request().method() === "POST");
await other.evaluate((to) => fetch(to, { method: "POST", mode: "no-cors" }).then(() => {}, () => {}), `${url}/api/credentials/envase/refresh`);
expect((await refused).status() === 403, `a stranger's order is answered with ${(await refused).status()}`);
stranger.close();

say({ looked: true });
await said.next();
await page.locator(".card.doubtful .error", { hasText: "check client_id" }).waitFor();
await violations(page, "outage");
await page.screenshot({ path: `${shots}/outage.png` });
say({ faults, size });
await browser.close();
process.exit(0);
