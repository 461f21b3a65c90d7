// Pictures of pages, light and dark, for people to look at. index.html in their folder shows them all, and sheet-light.png and
// sheet-dark.png are that page as pictures.

import assert from "node:assert/strict";
import { mkdir, rm, writeFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";
import { context } from "./browser.mjs";
import { name } from "./pages.mjs";

const SCHEMES = ["light", "dark"];
/** A page without anything on it is smaller, in bytes. */
const PICTURE_BYTES_MIN = 5_000;
/** A list is taken as far as this; below it are more rows of the same. */
const HEIGHT_MAX = 2_000;
const SHEET = { width: 1800, height: 1000 };

/** An empty folder: a picture of a page that is gone would be taken for one of today. */
export async function begin(folder) {
  await rm(folder, { recursive: true, force: true });
  for (const scheme of SCHEMES) await mkdir(`${folder}/${scheme}`, { recursive: true });
}

/** Of the page that is open, in each scheme. */
export async function take(page, shown, folder) {
  const { width, height } = page.viewportSize();
  const whole = await page.evaluate(() => document.documentElement.scrollHeight);
  const clip = { x: 0, y: 0, width, height: Math.min(Math.max(whole, height), HEIGHT_MAX) };
  for (const colorScheme of SCHEMES) {
    await page.emulateMedia({ colorScheme });
    const path = `${folder}/${colorScheme}/${name(shown)}.png`;
    const picture = await page.screenshot({ path, fullPage: true, clip, animations: "disabled", caret: "hide" });
    assert.ok(picture.length > PICTURE_BYTES_MIN, `${path} shows nothing`);
  }
}

/** One page of all pictures of a scheme. */
function sheet(scheme, pages) {
  const pictures = pages.map((shown) => {
    const file = `${scheme}/${name(shown)}.png`;
    return `<figure><a href="${file}"><img src="${file}" alt=""></a><figcaption>${shown.route}</figcaption></figure>`;
  });
  return `<h2>${scheme}</h2><div>${pictures.join("\n")}</div>`;
}

const STYLE = `body { font: 14px sans-serif; background: #888 }
div { display: grid; grid-template-columns: repeat(5, 1fr); gap: 12px }
figure { margin: 0 } img { width: 100%; aspect-ratio: 16 / 10; object-fit: cover; object-position: top left }`;

/** When all have been taken. */
export async function finish(folder, pages) {
  for (const [file, schemes] of [["index", SCHEMES], ...SCHEMES.map((scheme) => [`sheet-${scheme}`, [scheme]])]) {
    const sheets = schemes.map((scheme) => sheet(scheme, pages)).join("");
    await writeFile(`${folder}/${file}.html`, `<!doctype html><meta charset="utf-8"><style>${STYLE}</style>${sheets}`);
  }
  const made = await context(undefined, { viewport: SHEET });
  const page = await made.newPage();
  for (const scheme of SCHEMES) {
    await page.goto(pathToFileURL(`${folder}/sheet-${scheme}.html`).href);
    await page.screenshot({ path: `${folder}/sheet-${scheme}.png`, fullPage: true });
    await rm(`${folder}/sheet-${scheme}.html`);
  }
  await made.close();
}
