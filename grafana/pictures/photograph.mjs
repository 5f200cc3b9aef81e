// Opens each recorded dashboard in headless Chromium, checks that every panel shows something, and takes a picture.
import { mkdirSync, readFileSync, readdirSync } from 'node:fs';
import { createServer } from 'node:http';
import { extname, join, normalize } from 'node:path';

import { chromium } from 'playwright-core';
import sharp from 'sharp';

const CACHE = new URL('../../.cache/pictures/', import.meta.url).pathname;
const IMAGES = new URL('../../docs/images/', import.meta.url).pathname;
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

const server = createServer((request, reply) => {
  const path = normalize(new URL(request.url, 'http://page').pathname);
  try {
    const body = readFileSync(join(CACHE, 'page', path === '/' ? 'index.html' : path));
    reply.writeHead(200, { 'Content-Type': TYPES[extname(path)] ?? 'text/html' }).end(body);
  } catch {
    reply.writeHead(404).end();
  }
});
await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium', args: ['--no-sandbox'] });
mkdirSync(IMAGES, { recursive: true });
let wrong = 0;
for (const file of readdirSync(CACHE).filter((name) => name.endsWith('.json'))) {
  const slug = file.replace('.json', '');
  const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
  page.on('pageerror', (error) => { wrong += 1; console.error(`${slug}: ${error}`); });
  await page.addInitScript(`window.recorded = ${readFileSync(join(CACHE, file), 'utf8')}`);
  await page.goto(`http://127.0.0.1:${server.address().port}/`);
  await page.waitForSelector('[data-panel]');
  await page.waitForLoadState('networkidle');
  await page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));
  for (const blank of await page.$$eval('[data-panel]', blankPanels)) {
    wrong += 1;
    console.error(`${slug}: nothing is drawn in: ${blank}`);
  }
  // With a palette a third of the size, and the same to the eye.
  const picture = sharp(await page.screenshot({ fullPage: true }));
  await picture.png({ palette: true, effort: 10 }).toFile(join(IMAGES, `${slug}.png`));
  console.log(`${slug}: ${await page.$$eval('[data-panel]', (panels) => panels.length)} panels`);
  await page.close();
}
await browser.close();
server.close();
process.exit(wrong ? 1 : 0);

// A panel has text beside its title, or a drawing with ink in it.
function blankPanels(panels) {
  const hasInk = (canvas) => {
    const { data } = canvas.getContext('2d').getImageData(0, 0, canvas.width || 1, canvas.height || 1);
    return data.some((value) => value);
  };
  return panels
    .filter((panel) => {
      const canvases = [...panel.querySelectorAll('canvas')];
      return canvases.length ? !canvases.some(hasInk) : panel.innerText.replace(panel.dataset.panel, '').trim() === '' && !panel.querySelector('svg rect');
    })
    .map((panel) => panel.dataset.panel);
}
