// What somebody stored to be run is shown: in no page does any of it become an element or a script, whatever field it came
// in. Every text of the data is markup behind a word that tells the field, such as `name` or `reference`. The newest message
// and the newest dead letters are of a record that came from elsewhere: its key, value and headers are markup, too.

import assert from "node:assert/strict";
import { browseOn } from "./browser.mjs";
import { MARK, injected } from "./judge.mjs";
import { SHOWN, open, options } from "./pages.mjs";

/** The fields whose text a page must show. */
const SHOWS = {
  "/payments": ["reference"],
  "/payments/{id}": ["reference", "description", "flag"],
  "/merchants": ["name"],
  "/merchants/{id}": ["name"],
  "/events/{stream}/{lane}/{position}": ["flag"],
  "/reviews": ["flag", "name", "reference", "description"],
  "/dead-letters/{id}": ["key", "value", "header", "headed"],
  "/topics/{name}/messages": ["key", "value", "header", "headed", "member"],
};

for (const shown of SHOWN) {
  browseOn(`${shown.route} runs nothing that was stored`, options(shown), async (page) => {
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
