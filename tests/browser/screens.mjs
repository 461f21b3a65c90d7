// Pictures of every page, light and dark, for people to look at: SCREENS is the folder. index.html there shows them all, and
// sheet-light.png and sheet-dark.png are that page as pictures.

import assert from "node:assert/strict";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { test } from "node:test";
import { pathToFileURL } from "node:url";
import { browse, context, variable } from "./browser.mjs";
import { SHOWN, name, open } from "./pages.mjs";

const SCHEMES = ["light", "dark"];
/** A page without anything on it is smaller, in bytes. */
const PICTURE_BYTES_MIN = 5_000;
/** A list is taken as far as this; below it are more rows of the same. */
const HEIGHT_MAX = 2_000;
const SHEET = { width: 1800, height: 1000 };

const folder = variable("SCREENS");

// A picture of a page that is gone would be taken for one of today.
await rm(folder, { recursive: true, force: true });
for (const scheme of SCHEMES) await mkdir(`${folder}/${scheme}`, { recursive: true });

for (const colorScheme of SCHEMES) {
  for (const shown of SHOWN) {
    browse(`${shown.route}, ${colorScheme}`, { colorScheme }, async (page) => {
      await open(page, shown);
      const { width } = page.viewportSize();
      const whole = await page.evaluate(() => document.documentElement.scrollHeight);
      const clip = { x: 0, y: 0, width, height: Math.min(Math.max(whole, page.viewportSize().height), HEIGHT_MAX) };
      const path = `${folder}/${colorScheme}/${name(shown)}.png`;
      const picture = await page.screenshot({ path, fullPage: true, clip, animations: "disabled", caret: "hide" });
      assert.ok(picture.length > PICTURE_BYTES_MIN, `${path} shows nothing`);
    });
  }
}

/** One page of all pictures of a scheme. */
function sheet(scheme) {
  const pictures = SHOWN.map((shown) => {
    const file = `${scheme}/${name(shown)}.png`;
    return `<figure><a href="${file}"><img src="${file}" alt=""></a><figcaption>${shown.route}</figcaption></figure>`;
  });
  return `<h2>${scheme}</h2><div>${pictures.join("\n")}</div>`;
}

const STYLE = `body { font: 14px sans-serif; background: #888 }
div { display: grid; grid-template-columns: repeat(5, 1fr); gap: 12px }
figure { margin: 0 } img { width: 100%; aspect-ratio: 16 / 10; object-fit: cover; object-position: top left }`;

test("all of them on a sheet", async () => {
  for (const [file, schemes] of [["index", SCHEMES], ...SCHEMES.map((scheme) => [`sheet-${scheme}`, [scheme]])]) {
    const page = `<!doctype html><meta charset="utf-8"><style>${STYLE}</style>${schemes.map(sheet).join("")}`;
    await writeFile(`${folder}/${file}.html`, page);
  }
  const made = await context(undefined, { viewport: SHEET });
  const page = await made.newPage();
  for (const scheme of SCHEMES) {
    await page.goto(pathToFileURL(`${folder}/sheet-${scheme}.html`).href);
    await page.screenshot({ path: `${folder}/sheet-${scheme}.png`, fullPage: true });
    await rm(`${folder}/sheet-${scheme}.html`);
  }
  await made.close();
});
