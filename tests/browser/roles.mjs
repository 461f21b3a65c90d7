// A viewer is led only where it may go: no page has a button or a link for what the role may not do, and what it may not see is
// refused when it is asked for by its address.
//   FORBIDDEN  paths that are not for this operator

import assert from "node:assert/strict";
import { browseOn, expected, go, variable } from "./browser.mjs";
import { SHOWN, open } from "./pages.mjs";

/** What everybody who signed in may do. */
const EVERYBODYS = ["/theme", "/sign-out", "/views"];

/** Where links and forms that only ask lead to: one of each shape, and on which page it was found. */
const led = new Map();

/** One page of a payment leads to what another one does. */
const shape = (target) => target.replace(/[0-9a-f-]{36}/g, "{id}").replace(/\d+/g, "0");

for (const shown of SHOWN) {
  browseOn(`${shown.route} has nothing to press that a viewer may not`, {}, async (page) => {
    await open(page, shown);
    const found = await page.evaluate(() => {
      const path = (address) => new URL(address, location).pathname + new URL(address, location).search;
      const actions = (form) =>
        // Those that copy something send nothing.
        [...form.querySelectorAll("button:not([type=button])")].map(
          (button) => button.getAttribute("formaction") ?? form.getAttribute("action"),
        );
      const posting = [...document.querySelectorAll("form[method=post]")].flatMap(actions);
      const asking = [...document.querySelectorAll("form[action]:not([method])")].flatMap(actions);
      const links = [...document.querySelectorAll("a[href^='/']")].map((link) => link.getAttribute("href"));
      return { posting, led: [...asking, ...links].map(path) };
    });
    assert.deepEqual(found.posting.filter((action) => !EVERYBODYS.includes(action)), [], page.url());
    for (const target of found.led) if (!led.has(shape(target))) led.set(shape(target), { target, on: page.url() });
  });
}

browseOn("no link leads to what a viewer may not see", {}, async (page) => {
  assert.ok(led.size > SHOWN.length, `only ${[...led.keys()]} were found`);
  const wrong = [];
  for (const { target, on } of led.values()) {
    const status = (await page.request.get(target)).status();
    // A form that was not filled in may be told so.
    if (![200, 400].includes(status)) wrong.push(`${on} leads to ${target}, which answers ${status}`);
  }
  assert.deepEqual(wrong, []);
});

for (const path of variable("FORBIDDEN").split(" ")) {
  browseOn(`${path} is refused`, {}, async (page, _, complaints) => {
    const answer = await page.goto(path);
    expected(complaints, /status of 403/);
    assert.equal(answer.status(), 403);
    assert.match(await page.locator("main").innerText(), /may not do this/);
    assert.equal(await page.locator("main table").count(), 0);
    await go(page, "/");
    assert.equal(await page.locator(`nav a[href="${path}"]`).count(), 0, `the navigation leads to ${path}`);
  });
}
