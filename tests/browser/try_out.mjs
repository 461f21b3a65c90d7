// That the browser starts, shows a page and runs a script: what scripts/browser asks of it once.

import assert from "node:assert/strict";
import { close, launch } from "./browser.mjs";

const page = await (await launch()).newPage();
await page.setContent("<h1>Ready</h1>");
assert.equal(await page.evaluate(() => document.querySelector("h1").textContent), "Ready");
await close();
