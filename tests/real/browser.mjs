// A person at a browser: headless Chromium, driven through the pages of npm's oidc-provider.
//
// Settings, as JSON in the first argument:
//   url    where the person goes
//   does   "logs in", "denies" or "closes"
//   code   what the person types in first, on another device
//
// Prints one line of JSON: `url` and `text` of the page that is shown in the end.
import { chromium } from 'playwright-core';

const { url, does, code } = JSON.parse(process.argv[2]);
// In a container there is no sandbox for root.
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  args: ['--no-sandbox'],
});
try {
  const page = await browser.newPage();
  page.setDefaultTimeout(20_000);
  await page.goto(url);
  if (code) {
    await page.fill('input[name=user_code]', code);
    await page.click('button[type=submit]');
    // The code is shown again, to be compared.
    await page.click('button[autofocus]');
  }
  if (does === 'closes') {
    await page.waitForSelector('input[name=login]');
  } else if (does === 'denies') {
    await page.click('text=[ Cancel ]');
  } else {
    await page.fill('input[name=login]', 'driver');
    await page.fill('input[name=password]', 'any');
    await page.click('button[type=submit]');
    await page.click('button:has-text("Continue")');
  }
  if (does !== 'closes' && !code) {
    await page.waitForURL('http://127.0.0.1:*/callback*');
    await page.waitForFunction(() => document.body.innerText.includes('terminal'));
  } else if (code) {
    await page.waitForLoadState();
  }
  const text = await page.evaluate(() => document.body.innerText);
  console.log(JSON.stringify({ url: page.url(), text }));
} finally {
  await browser.close();
}
