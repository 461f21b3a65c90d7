// Everybody can use the console: axe-core finds nothing serious or critical on any page, light or dark, wide or narrow. And
// a page whose part this server does not have is not shown.

import assert from "node:assert/strict";
import { browse } from "./browser.mjs";
import { bring, judge } from "./judge.mjs";
import { NOT_SHOWN, SHOWN, open } from "./pages.mjs";

const NARROW = { width: 390, height: 844 };

const LOOKS = {
  light: (page) => page.emulateMedia({ colorScheme: "light" }),
  dark: (page) => page.emulateMedia({ colorScheme: "dark" }),
  narrow: async (page) => {
    await page.emulateMedia({ colorScheme: "light" });
    await page.setViewportSize(NARROW);
  },
};

/** The same finding in several looks is one. */
function note(findings, look, texts) {
  for (const text of texts) findings.set(text, [...(findings.get(text) ?? []), look]);
}

const told = (findings) => [...findings].map(([text, looks]) => `${looks.join(", ")}: ${text}`);

for (const shown of SHOWN) {
  browse(`${shown.route} can be used by everybody`, {}, async (page, t) => {
    await bring(page.context());
    await open(page, shown);
    const [all, onlyTold] = [new Map(), new Map()];
    for (const [look, change] of Object.entries(LOOKS)) {
      await change(page);
      const { faults, remarks } = await judge(page);
      note(all, look, faults);
      note(onlyTold, look, remarks);
    }
    for (const remark of told(onlyTold)) t.diagnostic(remark);
    assert.equal(all.size, 0, `${page.url()}\n${told(all).join("\n")}`);
  });
}

for (const { route } of NOT_SHOWN) {
  browse(`${route} is not shown`, {}, async (page, _, complaints) => {
    const answer = await page.goto(route);
    assert.equal(answer.status(), 404);
    // The browser's own line about the answer.
    complaints.splice(0, complaints.length, ...complaints.filter((complaint) => !complaint.includes("status of 404")));
    await page.goto("/");
    assert.equal(await page.locator(`nav a[href="${route}"]`).count(), 0, `the navigation leads to ${route}`);
  });
}
