// Every page, looked at once for all that everybody needs of it: axe-core finds nothing serious or critical on it, light or
// dark, wide or narrow; Tab reaches all of it, and the focus is seen; and pictures are taken of it, light and dark. A page
// whose part this server does not have is not shown.
//   SCREENS  the folder of the pictures; none are taken, if it is not set

import assert from "node:assert/strict";
import { test } from "node:test";
import { browse, browseOn, expected } from "./browser.mjs";
import { walkByTab } from "./focus.mjs";
import { judge } from "./judge.mjs";
import { NOT_SHOWN, SHOWN, open, options } from "./pages.mjs";
import { begin, finish, take } from "./pictures.mjs";

const folder = process.env.SCREENS;
if (folder) await begin(folder);

for (const shown of SHOWN) {
  browseOn(`${shown.route} can be used by everybody`, options(shown), async (page, t) => {
    await open(page, shown);
    if (folder) await take(page, shown, folder);
    const { faults, remarks } = await judge(page);
    for (const remark of remarks) t.diagnostic(remark);
    const walk = await walkByTab(page);
    assert.deepEqual([...faults, ...walk.faults], [], page.url());
    assert.ok(walk.reached > 0, "nothing can be reached by Tab");
  });
}

for (const { route } of NOT_SHOWN) {
  browse(`${route} is not shown`, {}, async (page, _, complaints) => {
    const answer = await page.goto(route);
    assert.equal(answer.status(), 404);
    expected(complaints, /status of 404/);
    await page.goto("/");
    assert.equal(await page.locator(`nav a[href="${route}"]`).count(), 0, `the navigation leads to ${route}`);
  });
}

if (folder) test("all pictures on a sheet", () => finish(folder, SHOWN));
