// What somebody stored to be run is shown: in no page does any of it become an element or a script, whatever field it came
// in. Every text of the data is markup behind a word that tells the field, such as `name` or `reference`.

import assert from "node:assert/strict";
import { browse } from "./browser.mjs";
import { MARK, injected } from "./judge.mjs";
import { SHOWN, open } from "./pages.mjs";

/** The fields whose text a page must show. */
const SHOWS = {
  "/payments": ["reference"],
  "/payments/{id}": ["reference", "description"],
  "/merchants": ["name"],
  "/merchants/{id}": ["name"],
  "/events/{stream}/{lane}/{position}": ["reference"],
};

for (const shown of SHOWN) {
  browse(`${shown.route} runs nothing that was stored`, {}, async (page) => {
    await open(page, shown);
    assert.deepEqual(await injected(page), { elements: 0, ran: false }, page.url());
    const text = await page.locator("body").innerText();
    for (const field of SHOWS[shown.route] ?? []) {
      // In JSON there is a backslash before the quotation mark.
      const asStored = new RegExp(`${field} \\\\?"><i class=${MARK}>`);
      assert.match(text, asStored, `the ${field} is not shown as it was stored on ${page.url()}`);
    }
  });
}
