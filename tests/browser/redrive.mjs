// What walk.mjs left, when the consumer is mended and the server was started anew: a person redrives a dead letter, and then
// all that are left, and finds both in the audit.

import assert from "node:assert/strict";
import { browse, go } from "./browser.mjs";
import { open, PAGES } from "./pages.mjs";

const letter = PAGES.find(({ route }) => route === "/dead-letters/{id}");
const said = (page, words) => page.getByRole("status").filter({ hasText: words }).waitFor();

browse("a dead letter is redriven", {}, async (page) => {
  await open(page, letter);
  const form = page.locator("form").filter({ has: page.getByRole("button", { name: "Redrive", exact: true }) });
  await form.getByLabel("Reason").fill("the consumer is mended");
  await form.getByRole("button", { name: "Redrive", exact: true }).click();
  await said(page, "Handled again");
  await go(page, "/audit");
  const audit = await page.locator("main").innerText();
  assert.match(audit, /dead-letter\.redrive/);
  assert.match(audit, /the consumer is mended/);
});
